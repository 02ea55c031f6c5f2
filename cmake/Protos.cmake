# proto: the wire format, generated into <build>/proto. Hidden visibility and the static protobuf, so that no second
# copy of its registry enters a process; compiled without our warnings, which are not about generated code.
find_program(FULCRUM_PROTOC protoc REQUIRED)
find_program(FULCRUM_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

function(fulcrum_protos)
  file(GLOB protos CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/proto/fulcrum/v1/*.proto)
  set(out ${CMAKE_BINARY_DIR}/proto)
  file(MAKE_DIRECTORY ${out})
  set(sources)
  foreach(proto IN LISTS protos)
    get_filename_component(stem ${proto} NAME_WE)
    set(base ${out}/fulcrum/v1/${stem})
    set(generated ${base}.pb.cc ${base}.pb.h ${base}.grpc.pb.cc ${base}.grpc.pb.h)
    add_custom_command(
      OUTPUT ${generated}
      COMMAND ${FULCRUM_PROTOC} -I ${PROJECT_SOURCE_DIR}/proto --cpp_out=${out} --grpc_out=${out}
              --plugin=protoc-gen-grpc=${FULCRUM_GRPC_CPP_PLUGIN} ${proto}
      DEPENDS ${protos}
      VERBATIM)
    list(APPEND sources ${generated})
  endforeach()
  add_library(proto STATIC ${sources})
  target_include_directories(proto SYSTEM PUBLIC ${out})
  # Static libraries that stay out of an executable's dynamic symbols: a second protobuf in the process must not meet ours.
  target_link_libraries(proto PUBLIC fulcrum_flags gRPC::grpc++ ${Protobuf_LIBRARIES} ${FULCRUM_GRPC_REFLECTION_STATIC})
  target_link_options(proto INTERFACE -Wl,--exclude-libs,ALL)
  set_property(GLOBAL PROPERTY FULCRUM_LAYER_proto 5)
endfunction()
