#include "tests/support/fiber.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace fulcrum::cuda_on_host {
namespace {

constexpr size_t kPage = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 256 << 10;  // its frames are larger
#else
constexpr size_t kStack = 64 << 10;
#endif

thread_local Fiber* entered = nullptr;

#if defined(__x86_64__)

// Saves what a function must keep, changes the stack, and goes on there. swapcontext() would do, but asks the
// kernel for the signal mask each time, which costs ten times as much.
extern "C" void fulcrum_change_stack(void** from, void* to);
asm(R"(
.text
.type fulcrum_change_stack, @function
fulcrum_change_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fulcrum_change_stack, .-fulcrum_change_stack
)");

void change_stack(void** from, void* to) { fulcrum_change_stack(from, to); }

// A stack on which change_stack() "returns" into `first`.
void* fresh_stack(char* bottom, void (*first)()) {
  auto* top = reinterpret_cast<uint64_t*>(bottom + kStack) - 1;  // where a return address would stand
  *--top = reinterpret_cast<uint64_t>(first);
  for (int i = 0; i < 6; ++i) *--top = 0;
  return top;
}

#else

void change_stack(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

void* fresh_stack(char* bottom, void (*first)()) {
  auto* context = reinterpret_cast<ucontext_t*>(bottom);
  getcontext(context);
  context->uc_stack.ss_sp = bottom + sizeof(ucontext_t);
  context->uc_stack.ss_size = kStack - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, first, 0);
  return context;
}

#endif

}  // namespace

Fiber::Fiber() {
  void* memory = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();  // a test without memory
  mprotect(memory, kPage, PROT_NONE);
  memory_ = static_cast<char*>(memory);
}
Fiber::~Fiber() { munmap(memory_, kPage + kStack); }

void Fiber::start(void (*run)(void*), void* argument) {
  run_ = run;
  argument_ = argument;
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(memory_ + kPage, kStack);
#endif
  own_fake_ = nullptr;
  own_stack_ = fresh_stack(memory_ + kPage, &Fiber::first);
}

void Fiber::first() { entered->run_and_return(); }

void Fiber::run_and_return() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &callers_bottom_, &callers_size_);
#endif
  run_(argument_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(nullptr, callers_bottom_, callers_size_);  // this stack's frames are done
#endif
  change_stack(&own_stack_, callers_stack_);
}

void Fiber::enter() {
  entered = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&callers_fake_, memory_ + kPage, kStack);
#endif
  change_stack(&callers_stack_, own_stack_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(callers_fake_, nullptr, nullptr);
#endif
}

void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&own_fake_, callers_bottom_, callers_size_);
#endif
  change_stack(&own_stack_, callers_stack_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(own_fake_, &callers_bottom_, &callers_size_);
#endif
}

}  // namespace fulcrum::cuda_on_host
