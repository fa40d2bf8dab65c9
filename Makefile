# lt - train language models with separate tools in C and CUDA C.
#   make            build/release/bin/lt-*        make check      every test that needs no GPU
#   make install    DESTDIR= PREFIX=/usr/local    make check-long the sweeps it samples, in full
#   make check-gpu  the operations on this GPU    make check-gpus RANKS=2  ZeRO on so many GPUs
#   make asan|tsan  the tests under a sanitizer   make check-ranks only what runs on many ranks
#   make lint       format, rooms, banned calls   make fuzz       smoke of every parser
#   make demo       text to generated text        make bench      lt-bench on this machine
FLAVOUR ?= release
B       ?= build/$(FLAVOUR)
CC      ?= gcc
CXX     ?= g++
ROOMS   ?= base config param text shard batch device comm model zero optim ckpt monitor train
TOOLS   ?= tokenize shard train ckpt bench
PREFIX  ?= /usr/local
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)

WARN  := -Wall -Wextra -Werror -Wformat=2 -Wshadow -Wvla -Wundef -Wpointer-arith -Wwrite-strings \
         -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wno-missing-field-initializers
HARD  := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection \
         -fcf-protection=full -fPIE
LINK  := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--gc-sections
ISAS  := base v3 v4
OPT_release := -O2 -g1 $(HARD)
OPT_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -fPIE
OPT_tsan    := -O1 -g -fsanitize=thread -fPIE
OPT_fuzz    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
               -fsanitize=fuzzer-no-link -fPIE
LINK_asan   := -pie -fsanitize=address,undefined
LINK_tsan   := -pie -fsanitize=thread
LINK_fuzz   := -pie -fsanitize=address,undefined
ifeq ($(FLAVOUR),fuzz)
CC := clang-14
endif
ifneq ($(FLAVOUR),release)
ISAS := base v3
endif
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Ilib -Itests
CFLAGS_ALL = -std=c11 -pthread -ffunction-sections $(WARN) $(OPT_$(FLAVOUR)) $(CPPFLAGS) $(CFLAGS)
# Weak references do not pull members out of an archive: ask for each level's table by name.
PULL := $(if $(filter device,$(ROOMS)),$(ISAS:%=-Wl,-u,lt_cpu_kernels_%))
LDFLAGS_ALL = -pthread $(PULL) $(if $(filter release,$(FLAVOUR)),$(LINK),$(LINK_$(FLAVOUR))) $(LDFLAGS)

# STATIC=1 links what a bare GPU machine lacks into the binaries.
LDLIBS := $(if $(STATIC),-l:libyaml.a -l:libjansson.a -l:libzstd.a -l:libz.a -lopenblas,-lyaml -ljansson -lzstd -lopenblas) \
          -lz -lm -ldl -lrt

# CUDA: with nvcc the kernels are built in, else cuda_absent.c says so at run time.
NVCC      ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA      ?= $(if $(NVCC),1,0)
CUDA_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
CUDA_HOME := $(abspath $(dir $(NVCC))/..)
ifeq ($(CUDA)$(FLAVOUR),1release)
CU_SRC  := $(wildcard lib/device/cuda/*.cu)
CU_C    := $(wildcard lib/device/cuda/*.c)
ABSENT  := lib/device/cuda_absent.c
LDLIBS  += -L$(CUDA_HOME)/lib64 -lcudart_static -lstdc++
CPPFLAGS += $(if $(CU_C),-isystem $(CUDA_HOME)/include)
else
ABSENT :=
endif

# MPI: CPU ranks; with MPICC (of Open MPI or MPICH) comm/mpi is built in, else mpi_absent.c says so
# at run time.  Always a shared library, so STATIC=1 goes without unless MPI=1 is said; it is not
# instrumented, so sanitizers do, too.
MPICC  ?= mpicc
MPIRUN ?= $(subst mpicc,mpirun,$(MPICC))
MPI    ?= $(if $(STATIC),0,$(if $(shell command -v $(MPICC) 2>/dev/null),1,0))
ifeq ($(MPI)$(FLAVOUR),1release)
MPI_SHOW := $(shell $(MPICC) -show)
MPI_INC  := $(patsubst -I%,-isystem %,$(filter -I%,$(MPI_SHOW)))
MPI_LIBS := $(filter -L% -l% -Wl%,$(MPI_SHOW))
MPI_SRC  := $(wildcard lib/comm/mpi/*.c)
ABSENT   += lib/comm/mpi_absent.c
endif
NCCL_SRC := $(wildcard lib/comm/nccl/*.c)
ABSENT   += $(if $(NCCL_SRC),lib/comm/nccl_absent.c)

# Kernels of device/cpu are compiled once per instruction set level; cpu_open() picks a table at run
# time.  ld -r + objcopy hide everything but that table, so the sources know nothing of it.
KERNEL_SRC := $(wildcard lib/device/cpu/*.c)
ISA_base := -mtune=generic
ISA_v3   := -march=x86-64-v3
ISA_v4   := -march=x86-64-v4 -mprefer-vector-width=512
ROOM_SRC := $(foreach r,$(ROOMS),$(wildcard lib/$r/*.c lib/$r/*.S)) $(CU_C) \
            $(if $(filter comm,$(ROOMS)),$(wildcard lib/comm/self/*.c lib/comm/tcp/*.c) $(MPI_SRC) $(NCCL_SRC))
LIB_SRC  := $(filter-out $(ABSENT),$(ROOM_SRC))
LIB_OBJ  := $(LIB_SRC:%=$B/%.o) $(if $(filter device,$(ROOMS)),$(CU_SRC:%=$B/%.o) $(if $(KERNEL_SRC),$(ISAS:%=$B/kernels.%.o)))
LIB      := $B/liblt.a
bin_tokenize := lt-tokenize
bin_shard    := lt-shard
bin_train    := lt-train
bin_ckpt     := lt-ckpt-merge
bin_bench    := lt-bench
BINS  := $(foreach t,$(TOOLS),$(if $(wildcard tools/$t/main.c),$B/bin/$(bin_$t)))
TESTS := $(patsubst tests/%.c,$B/tests/%,$(foreach r,$(ROOMS),$(wildcard tests/$r/test_*.c)))
RANK_TESTS := $(patsubst tests/%.c,$B/tests/%,$(foreach r,$(ROOMS),$(wildcard tests/$r/ranks_*.c)))
TEST_TOOLS := $(patsubst tests/%.c,$B/tests/%,$(foreach r,$(ROOMS),$(wildcard tests/$r/tool_*.c)))
FUZZ  := $(patsubst tests/fuzz/%.c,$B/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

all: $(BINS)

# Only what runs on many ranks is linked with MPI.
$B/lib/comm/mpi/%.c.o: CPPFLAGS += $(MPI_INC)
$(foreach r,comm model zero train,$B/tests/$r/%) $B/bin/lt-train $B/bin/lt-bench: LDLIBS += $(MPI_LIBS)

$B/%.c.o: %.c
	@mkdir -p $(@D)
	$(if $Q,@echo "  CC $<")
	$Q$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@
$B/%.S.o: %.S
	@mkdir -p $(@D)
	$Q$(CC) $(CPPFLAGS) -MMD -MP -c $< -o $@
$B/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(if $Q,@echo "  NVCC $<")
	$Q$(NVCC) -std=c++17 -O3 -lineinfo $(CUDA_ARCH) -Ilib -Xcompiler -fPIE,-Wall,-Wextra -MMD -MP -c $< -o $@
define kernel_rules
$B/%.c.$1.o: %.c
	@mkdir -p $$(@D)
	$(if $Q,@echo "  CC $$< [$1]")
	$Q$$(CC) $$(CFLAGS_ALL) -O3 -Wno-pass-failed -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd $(ISA_$1) -DLT_CPU_KERNELS=lt_cpu_kernels_$1 -MMD -MP -c $$< -o $$@
$B/kernels.$1.o: $(KERNEL_SRC:%=$B/%.$1.o)
	$Q$$(LD) -r $$^ -o $$@ && objcopy --keep-global-symbol=lt_cpu_kernels_$1 $$@
endef
$(foreach i,$(ISAS),$(eval $(call kernel_rules,$i)))

# Other rooms, or another choice of MPI, make another library of the same objects.
$B/objects: FORCE
	@mkdir -p $B && echo $(LIB_OBJ) $(MPI_LIBS) | cmp -s - $@ || echo $(LIB_OBJ) $(MPI_LIBS) >$@
$(LIB): $(LIB_OBJ) $B/objects
	@rm -f $@
	$Q$(AR) rcs $@ $(LIB_OBJ)
define tool_rules
$B/bin/$(bin_$1): $(patsubst %,$B/%.o,$(wildcard tools/$1/*.c)) $(LIB)
	@mkdir -p $$(@D)
	$(if $Q,@echo "  LD $$@")
	$Q$$(CC) $$(LDFLAGS_ALL) $$^ $$(LDLIBS) -o $$@
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rules,$t)))

$(RANK_TESTS): $B/tests/%: $B/tests/%.c.o $B/tests/lt_ranks.c.o $B/tests/lt_test.c.o $(LIB)
	@mkdir -p $(@D)
	$Q$(CC) $(LDFLAGS_ALL) $^ $(LDLIBS) -o $@
$B/tests/%: $B/tests/%.c.o $B/tests/lt_test_main.c.o $B/tests/lt_test.c.o $(LIB)
	@mkdir -p $(@D)
	$Q$(CC) $(LDFLAGS_ALL) $^ $(LDLIBS) -o $@
$(TEST_TOOLS): $B/tests/%: $B/tests/%.c.o $(LIB)
	@mkdir -p $(@D)
	$Q$(CC) $(LDFLAGS_ALL) $^ $(LDLIBS) -o $@
$B/fuzz/%: $B/tests/fuzz/%.c.o $(LIB)
	@mkdir -p $(@D)
	$Q$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer $^ $(LDLIBS) -o $@

ranks: $(RANK_TESTS)
tests: $(TESTS) $(TEST_TOOLS) ranks
check: all tests
	@B=$B MPIRUN=$(if $(MPI_SRC),$(MPIRUN)) sh tests/run_tests.sh $(TESTS)
check-ranks: ranks
	@B=$B MPIRUN=$(if $(MPI_SRC),$(MPIRUN)) sh tests/run_tests.sh --ranks
check-long: all tests
	LT_LONG=1 $B/tests/ckpt/test_checkpoint_flips
	PATH="$(abspath $B/bin):$$PATH" sh tests/kill_save.sh all
	PATH="$(abspath $B/bin):$$PATH" sh tests/power_cut.sh 200
	PATH="$(abspath $B/bin):$$PATH" sh tests/kill_resume.sh 200
	$(if $(MPI_SRC),B=$B MPIRUN=$(MPIRUN) RANKS=2 PATH="$(abspath $B/bin):$$PATH" sh -c 'sh tests/kill_resume.sh 200 && sh tests/matrix.sh')
check-gpu check-gpus check-gpu-sanitize: all tests
	@B=$B MPIRUN=$(MPIRUN) RANKS=$(or $(RANKS),2) sh tests/$(subst -,_,$@).sh $(PARTS)
asan tsan:
	@$(MAKE) --no-print-directory FLAVOUR=$@ tests
	@B=build/$@ sh tests/run_tests.sh --units build/$@
fuzz:
	@$(MAKE) --no-print-directory FLAVOUR=fuzz fuzz-build
	@sh tests/run_fuzz.sh build/fuzz $(or $(SECONDS),60)
fuzz-build: $(FUZZ)
lint:
	@sh tests/lint.sh
bench: all
	$B/bin/lt-bench train --model=gpt2 --batch=4 --seq=64
demo:
	$(MAKE) -f pipelines/demo.mk
man: $(BINS)
	@mkdir -p $B/man && for b in $(BINS); do $$b --man > $B/man/$$(basename $$b).1; done
install: all man
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/lt/pipelines
	install -m 755 $(BINS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $B/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/lt/pipelines/slurm
	install -m 644 pipelines/slurm/train.sbatch $(DESTDIR)$(PREFIX)/share/lt/pipelines/slurm
	install -m 644 pipelines/*.mk pipelines/*.yaml pipelines/*.sh pipelines/*.awk $(DESTDIR)$(PREFIX)/share/lt/pipelines
clean:
	rm -rf build

.PHONY: all tests ranks check check-ranks check-long check-gpu check-gpus check-gpu-sanitize asan tsan fuzz fuzz-build lint \
        bench demo man install clean FORCE
FORCE:
.SECONDARY:
-include $(shell find $B -name '*.d' 2>/dev/null)
