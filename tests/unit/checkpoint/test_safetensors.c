/* Files of tensors: the bytes against the published format, and everything that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/safetensors.h"
#include "harness/harness.h"

static const float WEIGHT[6] = {0.0f, 1.0f, -2.5f, 3.0f, 1e-30f, 5.0f};
static const int64_t TRACKED = 123456789012;
static const uint16_t HALF[3] = {0x3F80, 0x4000, 0xC000};
static const uint8_t MASK[2] = {0, 1};
static const int32_t STEP[1] = {-7};

static const reid_safetensors_item ITEMS[] = {
    {.name = "conv1.weight",
     .dtype = REID_SAFETENSORS_F32,
     .rank = 2,
     .shape = {2, 3},
     .data = WEIGHT},
    {.name = "mask", .dtype = REID_SAFETENSORS_U8, .rank = 1, .shape = {2}, .data = MASK},
    {.name = "bn1.num_batches_tracked", .dtype = REID_SAFETENSORS_I64, .rank = 0, .data = &TRACKED},
    {.name = "half", .dtype = REID_SAFETENSORS_BF16, .rank = 1, .shape = {3}, .data = HALF},
    {.name = "step", .dtype = REID_SAFETENSORS_I32, .rank = 1, .shape = {1}, .data = STEP},
    {.name = "empty", .dtype = REID_SAFETENSORS_F32, .rank = 2, .shape = {0, 4}},
};
enum { ITEM_COUNT = sizeof ITEMS / sizeof *ITEMS };

/* Worked out by hand from the format's page. */
static const char HEADER[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"bn1.num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
    "\"conv1.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
    "\"step\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[32,36]},"
    "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[36,36]},"
    "\"half\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[36,42]},"
    "\"mask\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[42,44]}}";
enum { DATA_BYTES = 44 };

static char *write_items(const char *folder, uint64_t *ret_size, uint64_t *ret_hash)
{
    static const reid_safetensors_pair metadata[] = {{"format", "pt"}};
    reid_error err = {0};
    char *path = reid_path_join(folder, "model.safetensors");
    reid_assert_ok(
        reid_safetensors_write(path, ITEMS, ITEM_COUNT, metadata, 1, ret_size, ret_hash, &err),
        &err);
    return path;
}

static void test_bytes_are_as_the_format_says(void **state)
{
    char *folder = reid_test_dir_new(), *data;
    uint64_t size, hash, length;
    size_t read_size;
    REID_AUTOFREE char *path = write_items(folder, &size, &hash);
    assert_int_equal(reid_file_read(path, 1 << 20, &data, &read_size, NULL), REID_OK);
    assert_int_equal(read_size, size);
    assert_true(reid_hash64(data, read_size, 0) == hash);
    memcpy(&length, data, 8);
    assert_int_equal((8 + length) % 64, 0);
    assert_int_equal(8 + length + DATA_BYTES, size);
    assert_memory_equal(data + 8, HEADER, strlen(HEADER));
    for (size_t i = 8 + strlen(HEADER); i < 8 + length; i++)
        assert_int_equal(data[i], ' ');
    const char *body = data + 8 + length;
    assert_memory_equal(body, &TRACKED, 8);
    assert_memory_equal(body + 8, WEIGHT, 24);
    assert_memory_equal(body + 32, STEP, 4);
    assert_memory_equal(body + 36, HALF, 6);
    assert_memory_equal(body + 42, MASK, 2);
    free(data);
    reid_test_dir_free(folder);
}

static void test_what_is_written_is_read(void **state)
{
    char *folder = reid_test_dir_new();
    reid_safetensors *file;
    reid_error err = {0};
    REID_AUTOFREE char *path = write_items(folder, NULL, NULL);
    reid_assert_ok(reid_safetensors_open(path, &file, &err), &err);
    assert_int_equal(reid_safetensors_count(file), ITEM_COUNT);
    assert_string_equal(reid_safetensors_metadata(file, "format"), "pt");
    assert_null(reid_safetensors_metadata(file, "author"));
    assert_null(reid_safetensors_find(file, "conv2.weight"));
    for (size_t i = 0; i < ITEM_COUNT; i++) {
        char data[64];
        const reid_safetensors_info *info = reid_safetensors_find(file, ITEMS[i].name);
        assert_non_null(info);
        assert_int_equal(info->dtype, ITEMS[i].dtype);
        assert_int_equal(info->rank, ITEMS[i].rank);
        assert_memory_equal(info->shape, ITEMS[i].shape, sizeof info->shape);
        reid_assert_ok(reid_safetensors_read(file, info, data, &err), &err);
        if (info->bytes > 0)
            assert_memory_equal(data, ITEMS[i].data, info->bytes);
    }
    float weight[6];
    static const int64_t shape[] = {2, 3}, other[] = {3, 2};
    reid_assert_ok(reid_safetensors_read_exact(file, "conv1.weight", REID_SAFETENSORS_F32, 2, shape,
                                               weight, &err),
                   &err);
    assert_memory_equal(weight, WEIGHT, sizeof weight);
    assert_int_equal(reid_safetensors_read_exact(file, "conv1.weight", REID_SAFETENSORS_F32, 2,
                                                 other, weight, &err),
                     REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "tensor 'conv1.weight' is F32 [2,3], F32 [3,2] is needed"));
    reid_error_clear(&err);
    assert_int_equal(
        reid_safetensors_read_exact(file, "x", REID_SAFETENSORS_F32, 2, other, weight, &err),
        REID_ERR_NOT_FOUND);
    reid_safetensors_free(file);
    reid_safetensors_free(NULL);
    reid_test_dir_free(folder);
}

/* ---- writing: data made on demand, and failures ---- */

typedef struct maker {
    int calls;
    reid_status status;
} maker;

static reid_status make_ramp(void *user, void *ret_data, size_t bytes, reid_error *err)
{
    maker *m = user;
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)ret_data)[i] = (float)i;
    m->calls++;
    return m->status == REID_OK ? REID_OK : reid_fail(err, m->status, "no ramp today");
}

static void test_data_made_on_demand(void **state)
{
    enum { COUNT = 3000000 }; /* several pieces */
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *path = reid_path_join(folder, "a.safetensors");
    REID_AUTOFREE char *other = reid_path_join(folder, "b.safetensors");
    reid_error err = {0};
    maker m = {0};
    const reid_safetensors_item items[] = {
        {.name = "ramp",
         .dtype = REID_SAFETENSORS_F32,
         .rank = 1,
         .shape = {COUNT},
         .fill = make_ramp,
         .user = &m},
        {.name = "short",
         .dtype = REID_SAFETENSORS_F32,
         .rank = 1,
         .shape = {3},
         .fill = make_ramp,
         .user = &m},
    };
    reid_assert_ok(reid_safetensors_write(path, items, 2, NULL, 0, NULL, NULL, &err), &err);
    assert_int_equal(m.calls, 2);
    reid_safetensors *file;
    reid_assert_ok(reid_safetensors_open(path, &file, &err), &err);
    float *data = reid_xmalloc(COUNT * sizeof *data);
    reid_assert_ok(reid_safetensors_read(file, reid_safetensors_find(file, "ramp"), data, &err),
                   &err);
    for (size_t i = 0; i < COUNT; i += 997)
        assert_true(data[i] == (float)i);
    free(data);
    reid_safetensors_free(file);

    m.status = REID_ERR_IO;
    assert_int_equal(reid_safetensors_write(other, items, 2, NULL, 0, NULL, NULL, &err),
                     REID_ERR_IO);
    assert_string_equal(err.text, "no ramp today");
    assert_false(reid_path_exists(other));
    reid_test_dir_free(folder);
}

static void test_items_that_cannot_be_stored(void **state)
{
    static const reid_safetensors_item rows[][2] = {
        {{.name = "", .data = WEIGHT}},
        {{.name = "__metadata__", .data = WEIGHT}},
        {{.name = "a", .data = WEIGHT, .rank = 9}},
        {{.name = "a", .data = WEIGHT, .rank = 1, .shape = {-1}}},
        {{.name = "a", .data = WEIGHT, .rank = 3, .shape = {INT64_MAX, INT64_MAX, 4}}},
        {{.name = "a", .data = WEIGHT}, {.name = "a", .data = WEIGHT}},
        {{.name = "caf\xE9", .data = WEIGHT}}, /* not UTF-8 */
    };
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *path = reid_path_join(folder, "a.safetensors");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reid_error err = {0};
        assert_int_equal(reid_safetensors_write(path, rows[i], rows[i][1].name ? 2 : 1, NULL, 0,
                                                NULL, NULL, &err),
                         REID_ERR_INVALID);
        assert_true(err.text[0] != '\0');
        assert_false(reid_path_exists(path));
    }
    reid_test_dir_free(folder);
}

static void test_an_existing_file_is_kept(void **state)
{
    char *folder = reid_test_dir_new();
    reid_error err = {0};
    REID_AUTOFREE char *path = reid_test_write_text(folder, "model.safetensors", "mine");
    assert_int_equal(reid_safetensors_write(path, ITEMS, ITEM_COUNT, NULL, 0, NULL, NULL, &err),
                     REID_ERR_EXISTS);
    REID_AUTOFREE char *text = reid_test_read_text(path);
    assert_string_equal(text, "mine");
    reid_test_dir_free(folder);
}

/* The system takes a part of the data and then no more. */
static void test_a_write_that_stops_leaves_no_file(void **state)
{
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *path = reid_path_join(folder, "a.safetensors");
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        maker m = {0};
        const reid_safetensors_item item = {.name = "ramp",
                                            .dtype = REID_SAFETENSORS_F32,
                                            .rank = 1,
                                            .shape = {100000},
                                            .fill = make_ramp,
                                            .user = &m};
        reid_error err = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000});
        reid_status got = reid_safetensors_write(path, &item, 1, NULL, 0, NULL, NULL, &err);
        _exit(got == REID_ERR_IO && strstr(err.text, "cannot write") &&
                      strstr(err.text, "File too large")
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(reid_path_exists(path));
    reid_test_dir_free(folder);
}

/* ---- reading what others wrote ---- */

/* A file of this header and `data_bytes` of zeros; caller frees. */
static char *make_file(const char *header, size_t data_bytes, size_t *ret_size)
{
    uint64_t length = strlen(header);
    *ret_size = 8 + length + data_bytes;
    char *file = reid_xcalloc(*ret_size + 1, 1);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    return file;
}

static reid_status open_header(const char *header, size_t data_bytes, reid_error *err)
{
    size_t size;
    reid_safetensors *file = NULL;
    char *data = make_file(header, data_bytes, &size);
    reid_status status = reid_safetensors_open_memory(data, size, "test", &file, err);
    reid_safetensors_free(file);
    free(data);
    return status;
}

#define T(dtype, shape, begin, end)                                                                \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void test_headers_of_other_writers(void **state)
{
    static const struct {
        const char *header;
        size_t data_bytes;
    } rows[] = {
        {"{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}",
         16}, /* the reference's own example */
        {"{}", 0},
        {"{}    \n", 0},
        {"{ \"a\" : {\"data_offsets\" : [0, 4], \"shape\" : [1, 1], \"dtype\" : \"F32\"} }", 4},
        {"{\"b\":" T("U8", "[3]", "4", "7") ",\"a\":" T("F32", "[1]", "0", "4") "}", 7},
        {"{\"__metadata__\":{},\"a\":" T("I64", "[]", "0", "8") "}", 8},
        {"{\"a\":" T("F32", "[0]", "0", "0") ",\"b\":" T("F32", "[1]", "0", "4") "}", 4},
        {"{\"caf\\u00e9\":" T("U8", "[1]", "0", "1") "}", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reid_error err = {0};
        reid_assert_ok(open_header(rows[i].header, rows[i].data_bytes, &err), &err);
    }
}

static void test_headers_that_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        reid_status status;
        const char *sentence;
    } rows[] = {
        {"", 0, REID_ERR_CORRUPT, "not a JSON object"},
        {"[]", 0, REID_ERR_CORRUPT, "not a JSON object"},
        {" {}", 0, REID_ERR_CORRUPT, "not a JSON object"},
        {"{", 0, REID_ERR_CORRUPT, "not JSON"},
        {"{}x", 0, REID_ERR_CORRUPT, "not JSON"},
        {"{\"a\":1}", 0, REID_ERR_CORRUPT, "not made of dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 4, REID_ERR_CORRUPT, "not made of dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"x\":0}}", 4,
         REID_ERR_CORRUPT, "not made of dtype"},
        {"{\"a\":{\"dtype\":32,\"shape\":[],\"data_offsets\":[0,4]}}", 4, REID_ERR_CORRUPT,
         "has no type"},
        {"{\"a\":" T("F31", "[]", "0", "4") "}", 4, REID_ERR_CORRUPT, "unknown type 'F31'"},
        {"{\"a\":" T("F16", "[]", "0", "2") "}", 2, REID_ERR_UNSUPPORTED,
         "tensor 'a' has the type F16"},
        {"{\"a\":" T("F32", "{}", "0", "4") "}", 4, REID_ERR_CORRUPT, "the shape of tensor 'a'"},
        {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, REID_ERR_CORRUPT,
         "the shape of tensor 'a'"},
        {"{\"a\":" T("F32", "[-1]", "0", "4") "}", 4, REID_ERR_CORRUPT,
         "dimension 0 of tensor 'a'"},
        {"{\"a\":" T("F32", "[1.0]", "0", "4") "}", 4, REID_ERR_CORRUPT,
         "dimension 0 of tensor 'a'"},
        {"{\"a\":" T("F32", "[9223372036854775807,9223372036854775807]", "0", "4") "}", 4,
         REID_ERR_CORRUPT, "impossibly large"},
        {"{\"a\":" T("F32", "[99999999999999999999]", "0", "4") "}", 4, REID_ERR_CORRUPT,
         "not JSON"},
        {"{\"a\":" T("F32", "[1]", "-4", "0") "}", 4, REID_ERR_CORRUPT, "two ascending numbers"},
        {"{\"a\":" T("F32", "[1]", "4", "0") "}", 4, REID_ERR_CORRUPT, "two ascending numbers"},
        {"{\"a\":" T("F32", "[1]", "0.0", "4") "}", 4, REID_ERR_CORRUPT, "two ascending numbers"},
        {"{\"a\":" T("F32", "[1]", "0", "4,8") "}", 4, REID_ERR_CORRUPT, "two ascending numbers"},
        {"{\"a\":" T("F32", "[1]", "0", "8") "}", 8, REID_ERR_CORRUPT,
         "takes 8 bytes, its type and shape need 4"},
        {"{\"a\":" T("F32", "[2]", "0", "8") "}", 7, REID_ERR_CORRUPT,
         "ends at byte 8 of the data, the file has 7"},
        {"{\"a\":" T("F32", "[1]", "0", "4") "}", 5, REID_ERR_CORRUPT,
         "1 bytes at its end belong to no tensor"},
        {"{}", 1, REID_ERR_CORRUPT, "1 bytes at its end"},
        {"{\"a\":" T("F32", "[1]", "0", "4") ",\"b\":" T("F32", "[1]", "0", "4") "}", 4,
         REID_ERR_CORRUPT, "tensors 'a' and 'b' overlap"},
        {"{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[1]", "4", "8") "}", 8,
         REID_ERR_CORRUPT, "overlap"},
        {"{\"a\":" T("F32", "[1]", "0", "4") ",\"b\":" T("F32", "[1]", "8", "12") "}", 12,
         REID_ERR_CORRUPT, "hole before tensor 'b'"},
        {"{\"a\":" T("F32", "[1]", "4", "8") "}", 8, REID_ERR_CORRUPT, "hole before tensor 'a'"},
        {"{\"a\":" T("F32", "[1]", "0", "4") ",\"a\":" T("F32", "[1]", "4", "8") "}", 8,
         REID_ERR_CORRUPT, "duplicate"},
        {"{\"__metadata__\":[]}", 0, REID_ERR_CORRUPT, "metadata are not an object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, REID_ERR_CORRUPT, "metadata are not all texts"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reid_error err = {0};
        reid_status status = open_header(rows[i].header, rows[i].data_bytes, &err);
        if (status != rows[i].status || !strstr(err.text, rows[i].sentence))
            fail_msg("row %zu (%s): %s: %s", i, rows[i].header, reid_status_name(status), err.text);
    }
}

static void test_lengths_that_are_refused(void **state)
{
    static const uint64_t lengths[] = {3,         1000,       ((uint64_t)32 << 20) + 1,
                                       INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    reid_safetensors *file = NULL;
    char data[10] = "________{}";
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        reid_error err = {0};
        memcpy(data, &lengths[i], 8);
        assert_int_equal(reid_safetensors_open_memory(data, sizeof data, "test", &file, &err),
                         REID_ERR_CORRUPT);
        assert_non_null(strstr(err.text, "its header would have"));
    }
    for (size_t size = 0; size < 8; size++)
        assert_int_equal(reid_safetensors_open_memory(data, size, "test", &file, NULL),
                         REID_ERR_CORRUPT);
    assert_int_equal(reid_safetensors_open("/nonexistent/file", &file, NULL), REID_ERR_NOT_FOUND);
    assert_int_equal(reid_safetensors_open("/", &file, NULL), REID_ERR_INVALID);
}

/* Whatever is done to a sound file: an error or a file whose tensors can all be read; nothing
 * outside its bytes is touched (the buffer ends where the heap checker looks). */
static void test_mutated_files(void **state)
{
    enum { ROUNDS = 6000 };
    char *folder = reid_test_dir_new(), *original;
    size_t size, sound = 0;
    REID_AUTOFREE char *path = write_items(folder, NULL, NULL);
    assert_int_equal(reid_file_read(path, 1 << 20, &original, &size, NULL), REID_OK);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t dice[8];
        for (uint64_t i = 0; i < 8; i++)
            dice[i] = reid_hash64((uint64_t[]){round, i}, 16, 3);
        size_t kept = dice[0] % 4 == 0 ? dice[1] % (size + 1) : size;
        char *data = reid_xmalloc(kept);
        memcpy(data, original, kept);
        for (uint64_t i = 0; i < dice[2] % 4 && kept > 0; i++) {
            size_t most =
                dice[3] % 2 ? kept : (kept < 600 ? kept : 600); /* the header more often */
            size_t at = dice[4 + i] / 256 % most;
            static const char likely[] = "0123456789-,[]{}\":.eE F";
            data[at] = dice[3] % 3 ? likely[dice[4 + i] % (sizeof likely - 1)] : (char)dice[4 + i];
        }
        reid_safetensors *file = NULL;
        reid_error err = {0};
        reid_status status = reid_safetensors_open_memory(data, kept, "mutated", &file, &err);
        assert_true(status == REID_OK || status == REID_ERR_CORRUPT ||
                    status == REID_ERR_UNSUPPORTED);
        assert_true((status == REID_OK) == (err.text[0] == '\0'));
        for (size_t i = 0; status == REID_OK && i < reid_safetensors_count(file); i++) {
            const reid_safetensors_info *info = reid_safetensors_at(file, i);
            assert_true(info->offset + info->bytes <= kept);
            REID_AUTOFREE char *copy = reid_xmalloc(info->bytes);
            assert_int_equal(reid_safetensors_read(file, info, copy, NULL), REID_OK);
        }
        sound += status == REID_OK;
        reid_safetensors_free(file);
        free(data);
    }
    assert_in_range(sound, ROUNDS / 20,
                    ROUNDS - ROUNDS / 4); /* the mutations do reach both sides */
    free(original);
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_as_the_format_says),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_data_made_on_demand),
        cmocka_unit_test(test_items_that_cannot_be_stored),
        cmocka_unit_test(test_an_existing_file_is_kept),
        cmocka_unit_test(test_a_write_that_stops_leaves_no_file),
        cmocka_unit_test(test_headers_of_other_writers),
        cmocka_unit_test(test_headers_that_are_refused),
        cmocka_unit_test(test_lengths_that_are_refused),
        cmocka_unit_test(test_mutated_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
