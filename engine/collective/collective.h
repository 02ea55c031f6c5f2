// Processes that compute together. Every rank makes the same calls in the same order; each call returns on
// all of them, or fails on all of them by a deadline, naming the rank that did not come. Called by the
// learner, through which it is the only thing that knows of other ranks. One call at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int64_t rank() const = 0;  // rank 0 leads
  virtual int64_t size() const = 0;
  bool alone() const { return size() == 1; }

  // Ok as long as all ranks are there. Once a call has failed, every other one gives the same Status.
  // kUnavailable: a rank has ended. kDeadlineExceeded: it does not come.
  virtual Status status() const = 0;
  // This rank goes, for a reason of its own; the others see that it has ended.
  virtual void leave(Status why) = 0;

  // `purpose` is what messages call the call: "step 3: gradients".
  // Each tensor becomes the sum of the ranks' tensors, with the same bits on every rank.
  virtual Status sum(std::span<const at::Tensor> tensors, std::string_view purpose) = 0;
  // The same, from one GPU to the other where the tensors of every rank lie on its GPU.
  virtual Status sum_on_devices(std::span<const at::Tensor> tensors, std::string_view purpose) = 0;
  // Rank 0's bytes into everyone's, which are as many.
  virtual Status broadcast(std::span<std::byte> bytes, std::string_view purpose) = 0;
  // Everyone's bytes, by rank. They may differ in length.
  virtual Result<std::vector<std::string>> gather(std::string_view bytes, std::string_view purpose) = 0;
};

// One process: nothing is sent.
std::unique_ptr<Collective> local_collective();

// Rank 0's text on every rank.
Result<std::string> broadcast_text(Collective& group, std::string text, std::string_view purpose);
// sum() of host numbers.
Status sum_values(Collective& group, std::span<std::vector<float>* const> values, std::string_view purpose);

}  // namespace fulcrum
