# spikescope_embed(TARGET symbol file): compiles the text of `file` into TARGET as
# `extern const std::string_view symbol` in namespace spikescope, so that the installed program needs no data folder.
function(spikescope_embed target symbol file)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} EMBED_TEXT)
  set(EMBED_SYMBOL ${symbol})
  set(source ${CMAKE_BINARY_DIR}/embedded/${symbol}.cpp)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/embedded.cpp.in ${source} @ONLY)
  target_sources(${target} PRIVATE ${source})
endfunction()
