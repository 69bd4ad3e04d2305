# cmake --install and find_package(spikescope): one shared library that hides what it is made of, the headers that need
# nothing but the standard library and nlohmann-json, the program, the data files and the licences.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# What users include; the headers that these include come along. tests/install.cmake compiles them without our own
# include paths, and so finds one that needs a library that users of ours need not have.
set(public_headers
  src/base/error.h src/base/tensor_view.h src/base/version.h
  src/catalogue/catalogue.h src/catalogue/fetch.h
  src/capture/capture.h src/capture/dump.h src/capture/prompts.h
  src/families/checkpoint.h src/families/family.h
  src/figure/figure.h
  src/hooks/hook_point.h src/hooks/hooks.h
  src/io/gguf.h src/io/hdf5.h src/io/json.h src/io/safetensors.h src/io/tensor_table.h
  src/model/architecture.h src/model/runner.h
  src/stats/moments.h src/stats/quantile.h src/stats/spike_rule.h src/stats/top_k.h
  src/text/tokenizer.h
  analyses/analysis.h analyses/run.h)
set(waiting ${public_headers})
while(waiting)
  list(POP_FRONT waiting header)
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${header})
    continue()  # the install itself fails, and names it
  endif()
  file(STRINGS ${CMAKE_SOURCE_DIR}/${header} includes REGEX "^#include \"")
  foreach(include ${includes})
    string(REGEX REPLACE "^#include \"([^\"]*)\".*" "\\1" name "${include}")
    if(NOT name MATCHES "^analyses/")
      set(name src/${name})
    endif()
    if(NOT name IN_LIST public_headers)
      list(APPEND public_headers ${name})
      list(APPEND waiting ${name})
    endif()
  endforeach()
endwhile()
foreach(header ${public_headers})
  string(REGEX REPLACE "^src/" "" destination ${header})
  get_filename_component(destination ${destination} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/spikescope/${destination})
endforeach()

# Program, library and the part of it that links LibTorch find each other wherever the prefix is moved to; a LibTorch outside
# the system's folders is found where it was when built.
file(RELATIVE_PATH to_library ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
set_target_properties(spikescope_program PROPERTIES INSTALL_RPATH "$ORIGIN/${to_library}")
set_target_properties(spikescope PROPERTIES INSTALL_RPATH "$ORIGIN")
set_target_properties(spikescope_torch_backend PROPERTIES INSTALL_RPATH_USE_LINK_PATH TRUE)
target_compile_features(spikescope INTERFACE cxx_std_20)
target_link_libraries(spikescope INTERFACE nlohmann_json::nlohmann_json)

install(TARGETS spikescope EXPORT spikescopeTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS spikescope_torch_backend LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS spikescope_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY data/ DESTINATION ${CMAKE_INSTALL_DATADIR}/spikescope)
install(FILES LICENSE NOTICE THIRD_PARTY_NOTICES.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/spikescope)
install(EXPORT spikescopeTargets NAMESPACE spikescope:: DESTINATION ${config_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/spikescopeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/spikescopeConfig.cmake ${CMAKE_BINARY_DIR}/spikescopeConfigVersion.cmake
  DESTINATION ${config_folder})

# Installs into a fresh folder, compiles every installed header by itself and builds examples/ against it, as a user would.
if(SPIKESCOPE_TESTS)
  add_test(NAME Install.ExamplesBuildAgainstIt COMMAND ${CMAKE_COMMAND}
    -D BUILD=${CMAKE_BINARY_DIR} -D SOURCE=${CMAKE_SOURCE_DIR} -D GENERATOR=${CMAKE_GENERATOR}
    -D COMPILER=${CMAKE_CXX_COMPILER} -D LAUNCHER=$<$<BOOL:${CCACHE}>:${CCACHE}> -D SANITIZE=${SPIKESCOPE_SANITIZE}
    -P ${CMAKE_SOURCE_DIR}/tests/install.cmake)
  set_tests_properties(Install.ExamplesBuildAgainstIt PROPERTIES TIMEOUT 600)
endif()
