# Run by ctest (see cmake/SpikescopeInstall.cmake): cmake -D BUILD=... -D SOURCE=... -P install.cmake
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}: ${code}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(work ${BUILD}/install-test)
file(REMOVE_RECURSE ${work})
set(prefix ${work}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
run(${prefix}/bin/spikescope --version)

set(flags "")
if(SANITIZE)
  set(flags "-fsanitize=address,undefined")
endif()
set(options -G ${GENERATOR} -D CMAKE_CXX_COMPILER=${COMPILER} -D CMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}
  -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_CXX_FLAGS=${flags})

# Every public header stands by itself, under both ways to name it, without the include paths of our own build.
file(GLOB_RECURSE headers RELATIVE ${prefix}/include ${prefix}/include/*.h)
list(LENGTH headers count)
if(count LESS 10)
  message(FATAL_ERROR "only ${count} headers are installed")
endif()
set(source ${work}/headers)
file(WRITE ${source}/CMakeLists.txt "cmake_minimum_required(VERSION 3.25)\nproject(headers LANGUAGES CXX)\n"
  "find_package(spikescope REQUIRED)\nadd_executable(headers headers.cpp)\n"
  "target_link_libraries(headers PRIVATE spikescope::spikescope)\n")
set(lines "")
foreach(header ${headers})
  string(REGEX REPLACE "^spikescope/" "" short ${header})
  string(APPEND lines "#include <${header}>\n#include \"${short}\"\n")
endforeach()
file(WRITE ${source}/headers.cpp "${lines}\n#include <cstdio>\nint main() { std::puts(spikescope::version()); }\n")
run(${CMAKE_COMMAND} -S ${source} -B ${work}/headers-build ${options})
run(${CMAKE_COMMAND} --build ${work}/headers-build)
run(${work}/headers-build/headers)

run(${CMAKE_COMMAND} -S ${SOURCE}/examples -B ${work}/examples-build ${options})
run(${CMAKE_COMMAND} --build ${work}/examples-build)

# With the model at hand the example also runs, and LibTorch is found from where everything was installed to.
run(${prefix}/bin/spikescope models --json)
string(JSON fetched GET "${output}" models 0 fetched)
if(fetched)
  string(JSON model GET "${output}" models 0 path)
  run(${work}/examples-build/capture ${model} ${work}/captured)
  if(NOT output MATCHES "block 11 +largest +23147\\.. +at token 0, dimension 507\n")
    message(FATAL_ERROR "the example printed\n${output}")
  endif()
else()
  message(STATUS "smollm2-135m is not fetched: the example was built, not run")
endif()
file(REMOVE_RECURSE ${work})
