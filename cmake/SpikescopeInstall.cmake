# cmake --install and find_package(spikescope).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
