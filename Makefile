# Gyrus. `make` builds, `make test` tests, `make demo` decodes a real brain; see README.md.
#   CC=gcc|clang  SAN=1 (address + undefined)  TSAN=1 (threads)  CUDA=0|1  PREFIX DESTDIR  V=1
CC      ?= cc
ifeq ($(origin CC),default)
CC      := gcc
endif
PREFIX  ?= /usr/local
VERSION := 0.1.0
CUDA    ?= $(if $(shell command -v nvcc 2>/dev/null),1,0)

SUFFIX  := $(if $(SAN),-san)$(if $(TSAN),-tsan)$(if $(findstring clang,$(CC)),-clang)
BUILD   := build$(SUFFIX)

WARN    := -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes \
           -Wmissing-prototypes -Wno-missing-field-initializers -Wno-format-truncation -Wno-unknown-warning-option -Werror
CFLAGS  ?= -O2 -g
# The floating-point contract (DESIGN): no fast-math, no contraction outside intrinsics.
GYFLAGS := -std=c11 -D_POSIX_C_SOURCE=200809L -ffp-contract=off -fno-math-errno -fPIC -I. -I$(BUILD) $(WARN) -MMD -MP
LDLIBS  := -lm -lpthread
ifdef SAN
GYFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif
ifdef TSAN
GYFLAGS += -fsanitize=thread
LDFLAGS += -fsanitize=thread
endif
Q       := $(if $(V),,@)

# Rooms. Adding a file to a room is enough; nothing here needs an edit.
MODELS  := $(wildcard models/decoding/*.c models/electrophysiology/*.c models/imaging/*.c models/encoding/*.c \
             models/interpretability/*.c)
LIBSRC  := $(wildcard core/*.c core/ops/*.c core/linalg/*.c kernels/*.c kernels/ref/*.c kernels/cuda/*.c \
             kernels/cuda/emu/*.c io/*.c io/formats/*.c io/report/*.c models/*.c models/blocks/*.c data/*.c) $(MODELS)
CUSRC   := $(wildcard kernels/cuda/*.cu)
CLISRC  := $(wildcard io/cli/*.c bench/*.c)
X86SRC  := $(wildcard kernels/x86/*.c)

LIBOBJ  := $(LIBSRC:%.c=$(BUILD)/%.o) $(CUSRC:%.cu=$(BUILD)/%.o) $(BUILD)/fatbins$(CUDA).o
CLIOBJ  := $(CLISRC:%.c=$(BUILD)/%.o)

# x86 sources are written once and compiled once a tier: GY_ISA names the tier, GY_ISAFN(f) is
# f_<tier>. A file x_<tier>.c exists for that tier alone.
TIERS   := avx2 avx512 avx512bf16
FLAGS_avx2       := -mavx2 -mfma -mf16c
FLAGS_avx512     := $(FLAGS_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
FLAGS_avx512bf16 := $(FLAGS_avx512) -mavx512bf16
ifeq ($(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1),x86_64)
only     = $(filter kernels/x86/%_$(1).c,$(X86SRC))
SHARED86 := $(filter-out $(foreach t,$(TIERS),$(call only,$(t))),$(X86SRC))
tierobj  = $(patsubst %.c,$(BUILD)/%.$(1).o,$(if $(filter avx512bf16,$(1)),,$(SHARED86)) $(call only,$(1)))
X86OBJ  := $(foreach t,$(TIERS),$(call tierobj,$(t)))
GYFLAGS += -DGY_X86=1
endif

LIB     := $(BUILD)/libgyrus.a
SHLIB   := $(BUILD)/libgyrus.so.$(VERSION)
BIN     := $(BUILD)/gyrus
TESTSRC := $(wildcard tests/*/test_*.c)
TESTS   := $(TESTSRC:%.c=$(BUILD)/%)
HARNESS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/harness/*.c))

.PHONY: cuda-table mutants all lib test tests demo bench claims install uninstall clean format check-format cmocka
.SECONDARY:
all: $(BIN) $(SHLIB)
lib: $(LIB)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(GYFLAGS) $(CFLAGS) -c $< -o $@

define tier_rule
$(BUILD)/kernels/x86/%.$(1).o: kernels/x86/%.c
	@mkdir -p $$(@D)
	$(Q)$(CC) $(GYFLAGS) $(CFLAGS) -O3 $(FLAGS_$(1)) -DGY_ISA_NAME=$(1) -DGY_TIER_$(1)=1 -c $$< -o $$@
endef
$(foreach t,$(TIERS),$(eval $(call tier_rule,$(t))))

# A .cu file is compiled twice: by the C compiler for the emulator and the functions that launch its kernels, and by nvcc,
# where there is one, for the GPU. fatbins.S embeds what nvcc made.
$(BUILD)/%.o: %.cu
	@mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -std=c11,$(GYFLAGS)) -std=gnu11 $(CFLAGS) -x c -c $< -o $@
# The log holds registers, shared memory and spills of each kernel (make cuda-table; tests/cuda/test_cuda_build.c).
NVFLAGS := --fatbin --fmad=false -O3 -std=c++17 -I. -Xptxas -v -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
           -gencode arch=compute_90,code=compute_90
FATBINS := $(if $(filter 1,$(CUDA)),$(CUSRC:%.cu=build/cuda/%.fatbin))
build/cuda/%.fatbin: %.cu
	@mkdir -p $(@D)
	$(Q)nvcc $(NVFLAGS) -MMD -MF $@.d -o $@ $< > $@.log 2>&1 || { cat $@.log; exit 1; }
$(BUILD)/fatbins$(CUDA).S: $(FATBINS) Makefile
	@mkdir -p $(@D)
	@{ echo '.section .data.rel.ro, "aw"'; echo '.balign 16'; echo '.globl gy_fatbins, gy_fatbin_count'; echo 'gy_fatbins:'; \
	  i=0; for f in $(FATBINS); do echo ".quad fatbin_$$i, fatbin_end_$$i - fatbin_$$i"; i=$$((i + 1)); done; \
	  echo '.quad 0, 0'; echo 'gy_fatbin_count:'; echo ".quad $(words $(FATBINS))"; echo '.section .rodata'; \
	  i=0; for f in $(FATBINS); do echo '.balign 16'; echo "fatbin_$$i: .incbin \"$$f\""; echo "fatbin_end_$$i:"; i=$$((i + 1)); done; \
	  echo '.section .note.GNU-stack, "", %progbits'; } > $@
$(BUILD)/fatbins$(CUDA).o: $(BUILD)/fatbins$(CUDA).S
	$(Q)$(CC) -c $< -o $@

# The registry of models is made from the file list: X(slug) for each models/<family>/<slug>.c. A slug has no
# underscore, so a long story may be told in two files: mindbridge.c and mindbridge_claim.c.
$(BUILD)/models.inc: $(MODELS) Makefile
	@mkdir -p $(@D)
	@{ for f in $(sort $(foreach f,$(notdir $(basename $(MODELS))),$(if $(findstring _,$(f)),,$(f)))); do echo "X($$(echo $$f | tr - _))"; done; } > $@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
$(BUILD)/models/registry.o: $(BUILD)/models.inc

# Which sources a page of the bench speaks of.
.PHONY: FORCE
$(BUILD)/commit.h: FORCE
	@mkdir -p $(@D)
	@echo "#define GY_COMMIT \"$$(git describe --always --dirty --abbrev=9 2>/dev/null || echo unknown)\"" > $@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
$(BUILD)/bench/suites.o: $(BUILD)/commit.h

$(LIB): $(LIBOBJ) $(X86OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^
$(SHLIB): $(LIBOBJ) $(X86OBJ)
	$(Q)$(CC) -shared -Wl,-soname,libgyrus.so.0 $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(BIN): $(CLIOBJ) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(HARNESS) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)
# A CUDA driver without a GPU, for tests of what the program asks of one.
$(BUILD)/tests/cuda/libcuda.so.1: tests/cuda/driver/fake.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(GYFLAGS) $(CFLAGS) -shared $(LDFLAGS) -o $@ $<
$(BUILD)/tests/cuda/test_driver: | $(BUILD)/tests/cuda/libcuda.so.1
cmocka:
	@echo '#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n#include <stdint.h>\n#include <cmocka.h>' \
	  | $(CC) -E - >/dev/null 2>&1 || { echo "installing libcmocka-dev"; \
	  if [ "$$(id -u)" = 0 ]; then s=; else s=sudo; fi; \
	  $$s apt-get update -qq && $$s apt-get install -y -qq libcmocka-dev; }
tests: cmocka
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) $(TESTS) $(BIN) $(SHLIB)
test: tests
	@GYRUS=$(BIN) sh tests/run.sh $(TESTS)

demo: $(BIN)
	@GYRUS=$(BIN) sh data/demo.sh
bench: $(BIN)
	@$(BIN) bench
claims: $(BIN)
	@GYRUS=$(BIN) sh tests/claims.sh
# What the compiler makes of each kernel, as kernels/cuda/REGISTERS.md.
cuda-table: $(CUSRC:%.cu=build/cuda/%.fatbin)
	@nvcc --version | sed -n 's/.*release/nvcc/p'; sh kernels/cuda/registers.sh $(CUSRC:%.cu=build/cuda/%.fatbin.log)

# Every barrier, wait and bound of the kernels deleted in turn: who notices? MUTANTS=softmax: of one file; FIRST=1: one
# of each kind and file.
mutants: $(BUILD)/tests/cuda/test_cuda_ops $(BUILD)/tests/cuda/test_cuda_nn $(BUILD)/tests/cuda/test_cuda_matmul $(BUILD)/tests/cuda/test_cuda_paths $(BIN)
	@CC="$(CC)" FLAGS="$(filter-out -std=c11 -MMD -MP,$(GYFLAGS)) -std=gnu11 $(CFLAGS)" BUILD=$(BUILD) sh tests/cuda/mutants.sh $(MUTANTS)

install: all
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BUILD="$(BUILD)" VERSION="$(VERSION)" sh io/cli/install.sh
uninstall:
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" sh io/cli/install.sh uninstall
format:
	@git ls-files '*.c' '*.h' '*.cu' | xargs clang-format -i
check-format:
	@git ls-files '*.c' '*.h' '*.cu' | xargs clang-format --dry-run -Werror
clean:
	rm -rf build build-san build-tsan build-clang build-san-clang build-tsan-clang

-include $(shell find $(BUILD) build/cuda -name '*.d' 2>/dev/null)
