#!/usr/bin/env bash
# One protobuf in the process: none of its names leaves our programs, and no shared libprotobuf or libsentencepiece
# comes in beside our static copies, not even through another library.
set -euo pipefail
bin=${1:?usage: check_symbols.sh BUILD/bin}
bad=0
for program in "$bin"/fulcrum "$bin"/fulcrum-engine; do
  exported=$(nm -D --defined-only -C "$program" | grep -c 'google::protobuf' || true)
  if [ "$exported" -ne 0 ]; then echo "$program exports $exported google::protobuf names"; bad=1; fi
  if ldd "$program" | grep -E 'libprotobuf|libsentencepiece'; then echo "$program loads a second copy (above)"; bad=1; fi
done
if ldd "$bin/fulcrum" | grep -E 'libtorch|libc10'; then echo "fulcrum must not link LibTorch (above)"; bad=1; fi
# The CUDA plugin gives one function away and knows no LibTorch; where there is no plugin there is nothing to look at.
plugin=$bin/libfulcrum_cuda.so
if [ -e "$plugin" ]; then
  exported=$(nm -D --defined-only "$plugin" | awk '{ print $3 }')
  if [ "$exported" != fulcrum_cuda_plugin ]; then echo "$plugin exports more or other than fulcrum_cuda_plugin: $exported"; bad=1; fi
  if readelf -d "$plugin" | grep -E 'NEEDED.*(libtorch|libc10|libcuda\.so)'; then echo "$plugin links what it must not (above)"; bad=1; fi
fi
# Files compiled for one instruction set hold nothing that the linker could give to the rest of the program.
for object in "$bin"/../CMakeFiles/engine_kernels.dir/engine/kernels/row_divergence/op_avx*.o; do
  [ -e "$object" ] || continue
  if nm -C "$object" | grep ' [WVu] ' | grep -v 'kernels::N_'; then echo "$object shares code of its instruction set (above)"; bad=1; fi
done
echo "symbols: $([ $bad -eq 0 ] && echo clean || echo violations)"
exit $bad
