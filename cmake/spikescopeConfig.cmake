# find_package(spikescope) gives the target spikescope::spikescope.
include(CMakeFindDependencyMacro)
find_dependency(nlohmann_json)
include(${CMAKE_CURRENT_LIST_DIR}/spikescopeTargets.cmake)
