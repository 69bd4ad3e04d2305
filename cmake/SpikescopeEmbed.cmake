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

# spikescope_embed_cells(TARGET files...): the sources of notebook cells, each under its file's name without extension, as
# the table that cell_sources() of notebooks-export/cells.h gives.
function(spikescope_embed_cells target)
  foreach(file ${ARGN})
    get_filename_component(name ${file} NAME_WE)
    spikescope_embed(${target} embedded_cells_${name} ${file})
    string(APPEND EMBED_DECLARATIONS "extern const std::string_view embedded_cells_${name};\n")
    string(APPEND EMBED_ROWS "      {\"${name}\", embedded_cells_${name}},\n")
  endforeach()
  set(source ${CMAKE_BINARY_DIR}/embedded/cell_sources.cpp)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/cell_sources.cpp.in ${source} @ONLY)
  target_sources(${target} PRIVATE ${source})
endfunction()
