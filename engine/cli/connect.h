// The options every client verb has: where the learner is and how to be let in.
#pragma once

#include "engine/cli/verb.h"
#include "engine/rpc/client.h"

namespace fulcrum::cli {

inline void add_connection_options(CLI::App& verb, ClientOptions& o) {
  verb.add_option("--learner", o.address, "HOST:PORT of the learner")
      ->envname("FULCRUM_LEARNER")
      ->capture_default_str();
  verb.add_flag("--tls", o.tls, "use TLS (always on off the loopback)");
  verb.add_option("--tls-ca", o.tls_ca, "PEM file of the roots to trust");
  verb.add_option("--tls-cert", o.tls_cert, "PEM file of a client certificate");
  verb.add_option("--tls-key", o.tls_key, "PEM file of its key");
  verb.add_option("--token-file", o.token_file, "file with the access token")->envname("FULCRUM_TOKEN_FILE");
}

}  // namespace fulcrum::cli
