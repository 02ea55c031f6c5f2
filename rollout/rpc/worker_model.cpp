#include "rollout/rpc/worker_model.h"

#include <stdlib.h>

#include <cerrno>
#include <fstream>

#include "engine/core/text.h"
#include "policy/text/tokenizer.h"
#include "rollout/make_generator.h"

namespace fulcrum {
namespace {

class PrivateFolder {
 public:
  static Result<PrivateFolder> make() {
    std::error_code error;
    const Path base = std::filesystem::temp_directory_path(error);
    std::string pattern = (error ? Path("/tmp") : base) / "fulcrum-tokenizer-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr)
      return from_errno(errno, "cannot make a temporary folder", pattern);
    return PrivateFolder(pattern);
  }
  explicit PrivateFolder(Path path) : path_(std::move(path)) {}
  PrivateFolder(PrivateFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PrivateFolder& operator=(PrivateFolder&&) = delete;
  ~PrivateFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const Path& path() const { return path_; }

 private:
  Path path_;
};

Result<std::shared_ptr<const Tokenizer>> load(const TokenizerFiles& tokenizer) {
  TRY(folder, PrivateFolder::make());
  for (const auto& [name, bytes] : tokenizer.files) {
    const Path path = folder.path() / name;  // plain names: the assembler has checked
    std::ofstream file(path, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file)
      return resource_exhausted("cannot write the tokenizer to " + in_quotes(path.string()) +
                                ": is the disk full?");
  }
  TRY(loaded, load_tokenizer(tokenizer.entry.empty() ? folder.path() : folder.path() / tokenizer.entry,
                             {.splitter = tokenizer.splitter}));
  if (loaded->content_hash() != tokenizer.hash) {
    return data_loss("the tokenizer that was sent is not the one the learner uses: the hashes differ");
  }
  return loaded;
}

// A job that generates in bf16 sends bf16 weights; a worker computes in what it was sent.
DType dtype_of(const TensorMap& tensors) {
  const bool bf16 = !tensors.empty() && tensors.begin()->second.dtype == DType::kBF16;
  return bf16 ? DType::kBF16 : DType::kF32;
}

class GeneratorModel final : public WorkerModel {
 public:
  explicit GeneratorModel(std::unique_ptr<CompletionGenerator> generator)
      : generator_(std::move(generator)) {}

  Status generate(std::span<const RolloutRequest> requests, PolicyVersion version, std::stop_token stop,
                  const OnGroup& on_group) override {
    return generator_->generate(requests, version, std::move(stop), {.on_group = on_group}).status();
  }

 private:
  std::unique_ptr<CompletionGenerator> generator_;
};

}  // namespace

WorkerModelFactory generator_models(GeneratorOptions options) {
  struct Last {
    std::string hash;
    std::shared_ptr<const Tokenizer> tokenizer;
  };
  return [options, last = std::make_shared<Last>()](
             std::shared_ptr<const WeightSet> weights,
             const TokenizerFiles& files) -> Result<std::shared_ptr<WorkerModel>> {
    if (last->tokenizer == nullptr || last->hash != files.hash) {
      TRY(tokenizer, load(files));
      *last = {files.hash, tokenizer};
    }
    TRY(model, make_generating_model(weights->spec, weights->tensors, dtype_of(weights->tensors), options));
    return std::shared_ptr<WorkerModel>(
        std::make_shared<GeneratorModel>(make_generator(model, last->tokenizer, options)));
  };
}

}  // namespace fulcrum
