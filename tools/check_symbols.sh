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
echo "symbols: $([ $bad -eq 0 ] && echo clean || echo violations)"
exit $bad
