// For the one source file of a test program that makes HDF5 fail on purpose.
#pragma once

// The HDF5 library loses memory where it fails, over a damaged file or one that it cannot flush. The leak checker of a
// sanitizer build, which calls this by its name, shall see the leaks of this project.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }
