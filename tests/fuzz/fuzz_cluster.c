/* What nodes read of each other. The beginning of the input chooses: "tcp:" or "unix:" an address;
 * "words:" what mpirun asks for, one word a line; "piece:" a file's name, an offset and bytes, one
 * a line, as a member sends them to the head; otherwise a cluster file. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "daemon/cluster/file.h"
#include "daemon/cluster/mirror.h"
#include "daemon/cluster/part_words.h"
#include "folder.h"
#include "rpc/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_address(const char *text)
{
    reid_rpc_address address = {0};
    reid_error err = {0};
    reid_status status = reid_rpc_address_init(&address, text, &err);
    REID_ASSERT(status == err.code);
    if (status == REID_OK) {
        REID_ASSERT((address.path != NULL) != (address.host != NULL));
        REID_ASSERT(address.path || *address.host);
        reid_rpc_address_fini(&address);
    }
}

static void check_node(const reidd_cluster_file *file, size_t i)
{
    const reidd_cluster_node *node = &file->nodes[i];
    reid_rpc_address address = {0};
    REID_ASSERT(*node->name && strpbrk(node->name, " \t\n/,:\"'\\;&|$") == NULL);
    REID_ASSERT(reidd_cluster_file_find(file, node->name) == i);
    REID_ASSERT(node->head == (i == file->head));
    REID_ASSERT(reid_rpc_address_init(&address, node->address, NULL) == REID_OK);
    REID_ASSERT(address.path || address.port > 0);
    REID_ASSERT(strcmp(node->host, address.host ? address.host : "") == 0);
    reid_rpc_address_fini(&address);
}

static void run_file(const char *text, size_t size)
{
    reidd_cluster_file file = {0};
    reid_error err = {0};
    reid_status status = reidd_cluster_file_parse("input", text, size, &file, &err);
    REID_ASSERT(status == err.code);
    REID_ASSERT(status == REID_OK || status == REID_ERR_INVALID || status == REID_ERR_EXHAUSTED);
    REID_ASSERT(reid_utf8_is_valid(err.text));
    if (status == REID_OK) {
        REID_ASSERT(file.count > 0 && file.count <= REIDD_CLUSTER_NODES_LIMIT);
        REID_ASSERT(file.head < file.count);
        for (size_t i = 0; i < file.count; i++)
            check_node(&file, i);
        reidd_cluster_file_fini(&file);
    }
}

/* ---- what is to be executed ---- */

/* Nothing that a shell or a linker heeds has come through, and mpirun is where it may be. */
static void check_argv(char **argv)
{
    size_t count = 0;
    bool uri = false;
    for (; argv[count]; count++) {
        REID_ASSERT(strpbrk(argv[count], " \t\n\"'`$\\&|<>*?~#{}") == NULL);
        REID_ASSERT(strstr(argv[count], "..") == NULL || argv[count][0] == 'n');
        if (strcmp(argv[count], "orte_hnp_uri") == 0) {
            const char *at = strstr(argv[count + 1], ".0;tcp://");
            REID_ASSERT(at && reid_str_starts(at, ".0;tcp://10.77.0.1:"));
            uri = true;
        }
    }
    REID_ASSERT(count % 3 == 0 && uri);
}

static void run_words(char *text)
{
    const reidd_part_origin origin = {.host = "10.77.0.1", .network = "10.77.0.0/24"};
    REID_VEC(char *) words = {0};
    char *rest = NULL, **argv = NULL;
    reid_error err = {0};
    for (char *word = strtok_r(text, "\n", &rest); word; word = strtok_r(NULL, "\n", &rest))
        reid_vec_push(&words, word);
    reid_status status = reidd_part_words_check(words.items, words.count, &origin, &argv, &err);
    REID_ASSERT(status == err.code);
    REID_ASSERT(status == REID_OK || status == REID_ERR_PERMISSION);
    if (status == REID_OK)
        check_argv(argv);
    reidd_part_words_free(argv);
    reid_vec_fini(&words);
}

/* ---- files of a member ---- */

static size_t count_entries(const char *folder)
{
    reid_dir_entry *entries;
    size_t count = 0, all = 0;
    REID_ASSERT(reid_dir_list(folder, &entries, &count, NULL) == REID_OK);
    for (size_t i = 0; i < count; i++) {
        char *path = reid_path_join(folder, entries[i].name);
        all += 1 + (entries[i].is_dir ? count_entries(path) : 0);
        free(path);
    }
    reid_dir_free(entries, count);
    return all;
}

/* Whatever is sent, there are at most the files of ranks 0 and 1 below the attempt's folder, and
 * nothing beside it. */
static void run_piece(char *text, size_t size)
{
    static char *folder, *attempt;
    static size_t runs;
    if (!folder) {
        reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .program = "fuzz", .rank = -1});
        folder = fuzz_folder_new();
        attempt = reid_path_join(folder, "attempt-1");
    }
    if (runs++ % 1000 == 0) {
        REID_ASSERT(reid_remove_tree(attempt, NULL) == REID_OK);
        REID_ASSERT(reid_make_dirs(attempt, 0700, NULL) == REID_OK);
    }
    char *rest = NULL, *path = strtok_r(text, "\n", &rest);
    char *number = path ? strtok_r(NULL, "\n", &rest) : NULL;
    reidd_mirror_piece piece = {.path = path ? path : "", .whole = number && *number == 'w'};
    if (number && !piece.whole && reid_parse_int64(number, &piece.offset) != REID_OK)
        piece.offset = -1;
    piece.data = number ? rest : "";
    piece.size = number && rest ? (size_t)(text + size - rest) : 0;
    reid_error err = {0};
    int64_t have = -2;
    reid_status status =
        reidd_mirror_take(attempt, "node2", (reidd_mirror_ranks){0, 2}, &piece, &have, &err);
    REID_ASSERT(status == err.code && (status == REID_OK) == (have != -2));
    REID_ASSERT(count_entries(folder) <= 1 + 3 + 3 + 10);
}

/* ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = reid_xstrndup((const char *)data, size);
    if (reid_str_starts(text, "tcp:") || reid_str_starts(text, "unix:"))
        run_address(text);
    else if (reid_str_starts(text, "words:\n"))
        run_words(text + 7);
    else if (reid_str_starts(text, "piece:\n"))
        run_piece(text + 7, strlen(text) - 7);
    else
        run_file((const char *)data, size);
    free(text);
    return 0;
}
