# Every library, in the order of the layers (docs/map.md walks the same order). A folder that does not exist yet is
# skipped by its absence here, not by a condition.

# Layer 0: std, JSON, logs.
fulcrum_library(engine/core LAYER 0 LINK nlohmann_json::nlohmann_json spdlog::spdlog OpenSSL::Crypto Threads::Threads)
fulcrum_library(engine/types LAYER 0 DEPENDS engine/core)
