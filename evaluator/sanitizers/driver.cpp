// Replays a tape of native calls under the sanitizers: every storage is an allocation of its own, of exactly its size.
//
//   driver SCRIPT LIBRARY...
//
// SCRIPT holds little-endian 64-bit words and raw bytes, written by replay.py:
//   functions: count, then (library, length of the symbol, symbol padded to 8)
//   storages:  count, then (bytes, alignment)
//   calls:     count, then (function, contents: count, (storage, bytes padded to 8)...,
//                           arguments: count, (0 bits | 1 null | 2 pointer, value or storage, offset)...)
// Lines "replay start", "replay call N", "replay end" on stdout tell how far it came.
#include <dlfcn.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static FILE* script;

static void give_up(const char* what) {
  std::printf("replay failed: %s\n", what);
  std::fflush(stdout);
  std::_Exit(90);
}

static uint64_t word() {
  uint64_t value;
  if (std::fread(&value, sizeof value, 1, script) != 1) give_up("the script is cut");
  return value;
}

static void bytes(void* place, uint64_t size) {
  if (size && std::fread(place, 1, size, script) != size) give_up("the script is cut");
  char padding[8];
  uint64_t rest = (8 - size % 8) % 8;
  if (rest && std::fread(padding, 1, rest, script) != rest) give_up("the script is cut");
}

struct Storage {
  char* start;
  uint64_t size;
};

static Storage storage_of(uint64_t size, uint64_t align) {
  void* start = nullptr;
  if (align < sizeof(void*)) align = sizeof(void*);
  if (posix_memalign(&start, align, size)) give_up("out of memory");
  return {static_cast<char*>(start), size};
}

using Trampoline = void (*)(const uint64_t*);

int main(int argc, char** argv) {
  if (argc < 2 || !(script = std::fopen(argv[1], "rb"))) give_up("no script");
  std::vector<void*> libraries;
  for (int i = 2; i < argc; ++i) {
    void* library = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) give_up(dlerror());
    libraries.push_back(library);
  }
  std::vector<Trampoline> functions(word());
  for (Trampoline& function : functions) {
    uint64_t library = word(), length = word();
    std::vector<char> name(length + 1, 0);
    bytes(name.data(), length);
    function = reinterpret_cast<Trampoline>(dlsym(libraries.at(library), name.data()));
    if (!function) give_up(dlerror());
  }
  std::vector<Storage> storages(word());
  for (Storage& storage : storages) {
    uint64_t size = word(), align = word();
    storage = storage_of(size, align);
  }
  std::printf("replay start\n");
  uint64_t calls = word();
  for (uint64_t call = 0; call < calls; ++call) {
    Trampoline function = functions.at(word());
    for (uint64_t n = word(); n; --n) {
      Storage& storage = storages.at(word());
      bytes(storage.start, storage.size);
    }
    std::vector<uint64_t> arguments(word());
    for (uint64_t& argument : arguments) {
      uint64_t kind = word(), value = word(), offset = word();
      argument = kind == 0 ? value : kind == 1 ? 0 : reinterpret_cast<uint64_t>(storages.at(value).start + offset);
    }
    std::printf("replay call %lu\n", static_cast<unsigned long>(call));
    std::fflush(stdout);
    function(arguments.data());
  }
  std::printf("replay end\n");
  std::fflush(stdout);
  std::_Exit(0);  // destructors of a kernel's statics are not part of any call
}
