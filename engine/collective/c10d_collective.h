// A Collective over a process group of c10d, which is on the hosts, and over the ranks' GPUs. connect() makes
// one over Gloo. Called by the programs' verbs.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "engine/collective/collective.h"
#include "engine/collective/device_sums.h"
#include "engine/collective/launch.h"
#include "engine/collective/presence.h"

namespace fulcrum {

class C10dCollective final : public Collective {
 public:
  // `backend` has the deadline of `store` as its timeout and works on tensors in this process's memory.
  C10dCollective(c10::intrusive_ptr<c10d::Backend> backend, GroupStore store)
      : backend_(std::move(backend)),
        store_(store),
        presence_(store),
        devices_(store.rank, store.size, store.deadline) {}

  int64_t rank() const override { return store_.rank; }
  int64_t size() const override { return store_.size; }
  Status status() const override { return status_; }
  void leave(Status why) override;
  Status sum(std::span<const at::Tensor> tensors, std::string_view purpose) override;
  Status sum_on_devices(std::span<const at::Tensor> tensors, std::string_view purpose) override;
  Status broadcast(std::span<std::byte> bytes, std::string_view purpose) override;
  Result<std::vector<std::string>> gather(std::string_view bytes, std::string_view purpose) override;

 private:
  using Start = std::function<c10::intrusive_ptr<c10d::Work>(c10d::Backend&)>;
  using Work = std::function<GroupOutcome()>;
  Status attempt(std::string_view purpose, const Work& work);
  Status my_fault(std::string_view purpose, const std::string& error) const;
  Status call(std::string_view purpose, const Start& start);
  Status join_devices(at::Device device, std::string_view purpose);
  Status gather_equal(const at::Tensor& mine, std::vector<at::Tensor>& all, std::string_view purpose);

  c10::intrusive_ptr<c10d::Backend> backend_;  // null once a call has failed
  GroupStore store_;
  Presence presence_;
  DeviceSums devices_;
  int64_t calls_ = 0;
  Status status_;
};

// Joins the group of the launch over Gloo; waits for the other ranks no longer than the deadline or a stop
// request. On the loopback if that is where MASTER_ADDR leads. kDeadlineExceeded naming the ranks that did
// not come; kFailedPrecondition: the port is in use, or a rank is of another build.
Result<std::shared_ptr<Collective>> connect(const Launch& launch, std::chrono::milliseconds deadline,
                                            const std::stop_token& stop);

}  // namespace fulcrum
