/* test_tier.c - records that come and go against a plain array, on a device whose copies are late;
 * and what a file can do to them: damage, no room, no permission. */
#include "lt_test.h"
#include "async_device.h"
#include "base/file.h"
#include "zero/tier.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { MAX_SLOTS = 4, N_RECORDS = 7, MOST_BYTES = 20000 };

static const size_t sizes[N_RECORDS] = { 4096, 1, 0, MOST_BYTES, 4097, 255, MOST_BYTES };

static lt_tier_options options(lt_tier_kind kind, const char *path, const char *label, int n_slots)
{
    return (lt_tier_options){ .kind = kind,
                              .pinned = true,
                              .path = path,
                              .label = label,
                              .n_slots = n_slots,
                              .n_records = N_RECORDS,
                              .bytes = sizes };
}

/* Opens this process's descriptor of the tier's nameless file once more; -1. */
static int open_file_of(const char *label, int *its_fd)
{
    char name[64], link[64], target[512];
    DIR *d = opendir("/proc/self/fd");
    int fd = -1;

    snprintf(name, sizeof name, "/lt-%s.", label);
    for (struct dirent *e; fd < 0 && d && (e = readdir(d));) {
        ssize_t n;

        snprintf(link, sizeof link, "/proc/self/fd/%.16s", e->d_name);
        n = readlink(link, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (!strstr(target, name))
            continue;
        *its_fd = (int)strtol(e->d_name, NULL, 10);
        fd = open(link, O_RDWR | O_CLOEXEC);
    }
    if (d)
        closedir(d);
    return fd;
}

/* ---- bytes */

static void check_plan(lt_tier_kind kind, const char *path)
{
    lt_tier_options o = options(kind, path, "plan", 3);
    lt_tier_bytes b = lt_tier_plan(&o);
    struct stat st = { 0 };
    lt_tier *t = NULL;
    lt_dev *dev;
    int its_fd;

    LT_CHECK_OK(async_device_open(&dev, false));
    LT_CHECK_OK(lt_tier_open(&t, dev, &o));
    LT_CHECK_INT(async_state.allocated[LT_MEMORY_DEVICE], b.device);
    LT_CHECK_INT(async_state.allocated[LT_MEMORY_PINNED], b.host);
    if (kind == LT_TIER_FILE) {
        int fd = open_file_of("plan", &its_fd);

        LT_CHECK(fd >= 0 && fstat(fd, &st) == 0);
        close(fd);
    }
    LT_CHECK_INT(st.st_size, b.file);
    lt_tier_close(t);
    async_device_close(dev);
}

LT_TEST(tier_plan_counts_what_open_takes)
{
    lt_tier_options o = options(LT_TIER_HOST, NULL, "plan", 3);
    lt_tier_bytes b = lt_tier_plan(&o);

    LT_CHECK_INT(b.device, 3 * 20224);
    LT_CHECK_INT(b.host, 4096 + 256 + 256 + 20224 + 4352 + 256 + 20224);
    LT_CHECK_INT(b.file, 0);
    o.kind = LT_TIER_FILE;
    b = lt_tier_plan(&o);
    LT_CHECK_INT(b.device, 3 * 20224);
    LT_CHECK_INT(b.host, 4 * 20480 + 4096);
    LT_CHECK_INT(b.file, 4096 * (1 + 1 + 1 + 5 + 2 + 1 + 5));
    o.kind = LT_TIER_NONE;
    b = lt_tier_plan(&o);
    LT_CHECK(b.device == 0 && b.host == 0 && b.file == 0);
    check_plan(LT_TIER_HOST, NULL);
    check_plan(LT_TIER_FILE, lt_test_tmp("."));
}

/* ---- random walks against a plain array */

typedef struct held {
    int record; /* -1: free */
    bool waited;
    uint8_t *data;           /* the slot's address */
    uint8_t now[MOST_BYTES]; /* what the slot has to hold */
} held;

typedef struct walk {
    lt_tier *tier;
    int n_slots;
    held slots[MAX_SLOTS];
    uint8_t records[N_RECORDS][MOST_BYTES];
    int last; /* the record that left a slot last */
    uint64_t seed, n_random;
} walk;

static uint64_t draw(walk *w, uint64_t below)
{
    return lt_random_u64(w->seed, 0, w->n_random++) % below;
}

/* Often the one that is still under way. */
static int draw_record(walk *w)
{
    return draw(w, 2) ? w->last : (int)draw(w, N_RECORDS);
}

/* What the device does with a record: compare, then write over it. */
typedef struct work {
    uint8_t *data, *expected;
    size_t bytes;
    int add;
} work;

static atomic_int n_wrong;

static void work_on(void *context)
{
    work *k = context;

    if (memcmp(k->data, k->expected, k->bytes) != 0)
        atomic_fetch_add(&n_wrong, 1);
    if (k->add)
        for (size_t i = 0; i < k->bytes; i++)
            k->data[i] = (uint8_t)(k->data[i] * 5 + k->add);
    free(k->expected);
}

static void compute(held *h, int add)
{
    size_t bytes = sizes[h->record];
    work k = { h->data, lt_new0(MOST_BYTES), bytes, add };

    memcpy(k.expected, h->now, bytes);
    if (add)
        for (size_t i = 0; i < bytes; i++)
            h->now[i] = (uint8_t)(h->now[i] * 5 + add);
    async_compute(work_on, &k, sizeof k);
}

static bool is_held(const walk *w, int record)
{
    for (int i = 0; i < w->n_slots; i++)
        if (w->slots[i].record == record)
            return true;
    return false;
}

static void step_slot(walk *w, int slot)
{
    held *h = &w->slots[slot];

    if (h->record < 0) {
        h->record = draw_record(w);
        memcpy(h->now, w->records[h->record], sizes[h->record]);
        h->waited = false;
        lt_tier_fetch(w->tier, h->record, slot);
    } else if (!h->waited && draw(w, 8)) {
        h->data = lt_tier_wait(w->tier, slot, LT_STREAM_COMPUTE);
        h->waited = true;
        compute(h, 0);
    } else if (h->waited && draw(w, 2)) {
        compute(h, 1 + (int)draw(w, 100));
    } else {
        int record = h->record;

        w->last = record;
        h->record = -1;
        if (h->waited && draw(w, 4)) {
            memcpy(w->records[record], h->now, sizes[record]);
            lt_tier_store(w->tier, slot);
        } else {
            lt_tier_drop(w->tier, slot);
        }
    }
}

static lt_err step_host(walk *w)
{
    int record = draw_record(w);
    size_t from = draw(w, sizes[record] + 1), n = draw(w, sizes[record] - from + 1);
    uint8_t part[MOST_BYTES];
    lt_err err;

    if (draw(w, 4) == 0)
        return lt_tier_flush(w->tier);
    if (draw(w, 3) == 0)
        from = 0, n = sizes[record];
    if (draw(w, 2) && !is_held(w, record)) {
        for (size_t i = 0; i < n; i++)
            w->records[record][from + i] = (uint8_t)draw(w, 256);
        return lt_tier_write(w->tier, record, from, n, w->records[record] + from);
    }
    LT_TRY(err = lt_tier_read(w->tier, record, from, n, part));
    if (memcmp(part, w->records[record] + from, n) != 0)
        atomic_fetch_add(&n_wrong, 1);
fail:
    return err;
}

static void random_walk(const lt_tier_options *o, bool late, bool through_cache)
{
    static walk w;
    lt_dev *dev;
    int its_fd;

    memset(&w, 0, sizeof w);
    w.n_slots = o->n_slots;
    w.seed = (uint64_t)o->n_slots * 4 + (uint64_t)o->kind;
    for (int i = 0; i < MAX_SLOTS; i++)
        w.slots[i].record = -1;
    atomic_store(&n_wrong, 0);
    LT_CHECK_OK(async_device_open(&dev, late));
    LT_CHECK_OK(lt_tier_open(&w.tier, dev, o));
    if (through_cache) {
        int fd = open_file_of(o->label, &its_fd);

        LT_CHECK(fd >= 0 && fcntl(its_fd, F_SETFL, 0) == 0);
        close(fd);
    }
    for (int i = 0; i < 400; i++) {
        if (draw(&w, 12))
            step_slot(&w, (int)draw(&w, (uint64_t)w.n_slots));
        else
            LT_CHECK_OK(step_host(&w));
    }
    LT_CHECK_OK(lt_tier_check(w.tier));
    LT_CHECK_OK(lt_tier_flush(w.tier));
    for (int r = 0; r < N_RECORDS; r++) {
        uint8_t all[MOST_BYTES];

        LT_CHECK_OK(lt_tier_read(w.tier, r, 0, sizes[r], all));
        LT_CHECK(memcmp(all, w.records[r], sizes[r]) == 0);
    }
    lt_tier_close(w.tier);
    async_device_close(dev);
    LT_CHECK_INT(atomic_load(&n_wrong), 0);
}

static void walk_all(lt_tier_kind kind, const char *path, bool through_cache)
{
    for (int n = 1; n <= MAX_SLOTS; n++) {
        lt_tier_options o = options(kind, path, "walk", n);

        o.pinned = n % 2;
        random_walk(&o, false, through_cache);
        random_walk(&o, true, through_cache);
    }
}

LT_TEST(tier_in_host_memory_holds_what_was_stored)
{
    walk_all(LT_TIER_HOST, NULL, false);
}

LT_TEST(tier_in_a_file_holds_what_was_stored)
{
    walk_all(LT_TIER_FILE, lt_test_tmp("."), false);
}

LT_TEST(tier_in_a_file_through_the_page_cache_holds_what_was_stored)
{
    walk_all(LT_TIER_FILE, lt_test_tmp("."), true);
}

LT_TEST(tier_in_a_file_on_tmpfs_holds_what_was_stored)
{
    if (access("/dev/shm", W_OK) != 0)
        lt_test_skip("no /dev/shm");
    else
        walk_all(LT_TIER_FILE, "/dev/shm", false);
}

/* A file system of our own in a name space of our own; NULL with a reason where we may not. */
static const char *mount_here(const char *type, const char *how)
{
    const char *dir = lt_test_tmp(type);

    if (mkdir(dir, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("none", dir, type, 0, how) == 0)
        return dir;
    lt_test_skip("may not mount a file system");
    return NULL;
}

/* ramfs knows neither O_DIRECT nor fallocate. */
LT_TEST(tier_in_a_file_that_cannot_be_reserved_is_written_with_zeros)
{
    const char *dir = mount_here("ramfs", "");

    if (!dir)
        return;
    check_plan(LT_TIER_FILE, dir);
    walk_all(LT_TIER_FILE, dir, false);
    umount2(dir, MNT_DETACH);
}

/* ---- faults */

typedef struct fixture {
    lt_dev *dev;
    lt_tier *tier;
} fixture;

static lt_err fixture_open(fixture *f, const lt_tier_options *o)
{
    lt_err err;

    *f = (fixture){ 0 };
    LT_TRY(err = async_device_open(&f->dev, true));
    LT_TRY(err = lt_tier_open(&f->tier, f->dev, o));
fail:
    return err;
}

static void fixture_close(fixture *f)
{
    lt_tier_close(f->tier);
    async_device_close(f->dev);
}

static void touch(void *context)
{
    work *k = context;

    memset(k->data, k->add, k->bytes);
}

/* Fetch, write over, store. */
static void update(fixture *f, int record, int slot)
{
    work k = { NULL, NULL, sizes[record], record + 1 };

    lt_tier_fetch(f->tier, record, slot);
    k.data = lt_tier_wait(f->tier, slot, LT_STREAM_COMPUTE);
    async_compute(touch, &k, sizeof k);
    lt_tier_store(f->tier, slot);
}

LT_TEST(tier_finds_a_flipped_byte)
{
    lt_tier_options o = options(LT_TIER_FILE, lt_test_tmp("."), "flip", 2);
    char byte = 0x55, part[8];
    fixture f;
    int fd, its_fd;

    LT_CHECK_OK(fixture_open(&f, &o));
    for (int r = 0; r < N_RECORDS; r++)
        update(&f, r, r % 2);
    LT_CHECK_OK(lt_tier_flush(f.tier));
    fd = open_file_of("flip", &its_fd);
    LT_CHECK(fd >= 0 && pwrite(fd, &byte, 1, 4096 * 3 + 19999) == 1 && fsync(fd) == 0);
    close(fd);
    update(&f, 0, 0);
    LT_CHECK_OK(lt_tier_flush(f.tier));
    update(&f, 3, 1); /* the loop goes on with what is there */
    update(&f, 4, 0);
    LT_CHECK_FAILS(lt_tier_flush(f.tier), LT_EFORMAT,
                   "record 3 at offset 12288 is damaged: expected CRC-32C ");
    LT_CHECK(strstr(lt_err_text(), "/lt-flip."));
    LT_CHECK_FAILS(lt_tier_check(f.tier), LT_EFORMAT, "record 3 ");
    LT_CHECK_FAILS(lt_tier_read(f.tier, 0, 0, sizeof part, part), LT_EFORMAT, "record 3 ");
    LT_CHECK_FAILS(lt_tier_write(f.tier, 0, 0, sizeof part, part), LT_EFORMAT, "record 3 ");
    LT_CHECK_FAILS(lt_tier_flush(f.tier), LT_EFORMAT, "record 3 ");
    fixture_close(&f);
}

LT_TEST(tier_finds_a_file_cut_short)
{
    lt_tier_options o = options(LT_TIER_FILE, lt_test_tmp("."), "cut", 1);
    uint8_t byte;
    fixture f;
    int fd, its_fd;

    LT_CHECK_OK(fixture_open(&f, &o));
    fd = open_file_of("cut", &its_fd);
    LT_CHECK(fd >= 0 && ftruncate(fd, 4096 * 15) == 0);
    close(fd);
    LT_CHECK_OK(lt_tier_read(f.tier, 5, 0, 1, &byte));
    LT_CHECK_FAILS(lt_tier_read(f.tier, 6, 0, 1, &byte), LT_EFORMAT,
                   "record 6 at offset 45056: truncated: expected 20480 bytes, found 16384");
    fixture_close(&f);
}

static bool set_file_limit(rlim_t bytes, struct rlimit *before)
{
    struct rlimit now;

    if (getrlimit(RLIMIT_FSIZE, before) != 0)
        return false;
    now = (struct rlimit){ bytes, before->rlim_max };
    return setrlimit(RLIMIT_FSIZE, &now) == 0;
}

LT_TEST(tier_reports_a_write_that_fails)
{
    lt_tier_options o = options(LT_TIER_FILE, lt_test_tmp("."), "limit", 2);
    struct rlimit before;
    uint8_t byte = 7;
    fixture f;

    LT_CHECK_OK(fixture_open(&f, &o));
    LT_CHECK(set_file_limit(8192, &before));
    update(&f, 0, 0);
    update(&f, 6, 1);
    for (int r = 0; r < N_RECORDS; r++)
        update(&f, r, r % 2);
    LT_CHECK_FAILS(lt_tier_flush(f.tier), LT_EIO, "write of 20480 bytes at offset 45056: ");
    fixture_close(&f);

    o.label = "limit-desk";
    LT_CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    LT_CHECK_OK(fixture_open(&f, &o));
    LT_CHECK(set_file_limit(8192, &before));
    LT_CHECK_OK(lt_tier_write(f.tier, 4, 0, 1, &byte)); /* kept at hand */
    LT_CHECK_FAILS(lt_tier_flush(f.tier), LT_EIO, "write of 8192 bytes at offset 32768: ");
    LT_CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    fixture_close(&f);
}

LT_TEST(tier_says_what_room_there_is_not)
{
    lt_tier_options o = options(LT_TIER_FILE, lt_test_tmp("."), "room", 2);
    struct rlimit before;
    const char *dir;
    fixture f;

    LT_CHECK(set_file_limit(4096 * 15, &before));
    LT_CHECK_FAILS(fixture_open(&f, &o), LT_EIO, "(65536 bytes wanted, ");
    fixture_close(&f);
    LT_CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    dir = mount_here("tmpfs", "size=60k");
    if (!dir)
        return;
    o.path = dir;
    LT_CHECK_FAILS(fixture_open(&f, &o), LT_EIO,
                   "cannot reserve: No space left on device (65536 bytes wanted, 61440 free)");
    fixture_close(&f);
    umount2(dir, MNT_DETACH);
}

LT_TEST(tier_says_what_memory_there_is_not)
{
    enum { MANY = 1 << 14 };
    lt_tier_options o = options(LT_TIER_HOST, NULL, "memory", 1);
    size_t *bytes = lt_new_array0(MANY, sizeof *bytes);
    fixture f;

    for (int i = 0; i < MANY; i++)
        bytes[i] = (size_t)1 << 30;
    o.bytes = bytes;
    o.n_records = MANY;
    if (access("/proc/meminfo", R_OK) == 0)
        LT_CHECK_FAILS(fixture_open(&f, &o), LT_ENOMEM,
                       "offload memory: 17592186044416 bytes of host memory wanted, ");
    fixture_close(&f);
    free(bytes);
}

LT_TEST(tier_says_which_directory_it_cannot_use)
{
    lt_tier_options o = options(LT_TIER_FILE, lt_test_tmp("absent"), "dir", 1);
    bool root = geteuid() == 0;
    const char *file = lt_test_tmp("a-file"), *shut = lt_test_tmp("shut");
    lt_err err;
    fixture f;

    LT_CHECK_FAILS(fixture_open(&f, &o), LT_ENOENT, "absent/lt-dir.");
    fixture_close(&f);
    LT_CHECK_OK(lt_file_write_atomic(file, "x", 1));
    o.path = file;
    LT_CHECK_FAILS(fixture_open(&f, &o), LT_EIO, "cannot create: Not a directory");
    fixture_close(&f);
    LT_CHECK(mkdir(shut, 0500) == 0);
    o.path = shut;
    LT_CHECK(!root || seteuid(65534) == 0); /* root may write everywhere */
    err = fixture_open(&f, &o);
    LT_CHECK(!root || seteuid(0) == 0);
    LT_CHECK_FAILS(err, LT_EIO, "cannot create: Permission denied");
    fixture_close(&f);
}

static int count_names(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n - 2;
}

LT_TEST(tier_leaves_no_name_behind)
{
    const char *dir = lt_test_tmp("names");
    lt_tier_options o = options(LT_TIER_FILE, dir, "name", 2);
    char left[512];
    fixture f;

    LT_CHECK(mkdir(dir, 0700) == 0);
    snprintf(left, sizeof left, "%s/lt-name.%ld", dir, (long)getpid());
    LT_CHECK_OK(lt_file_write_atomic(left, "of a killed process", 19));
    LT_CHECK_OK(fixture_open(&f, &o));
    LT_CHECK_INT(count_names(dir), 0);
    update(&f, 3, 0); /* closed while it is under way */
    lt_tier_fetch(f.tier, 3, 0);
    update(&f, 6, 1);
    lt_tier_fetch(f.tier, 6, 1);
    fixture_close(&f);
    LT_CHECK_INT(count_names(dir), 0);
}
