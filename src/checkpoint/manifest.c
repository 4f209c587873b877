#include "checkpoint/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

#define FORMAT "reid-checkpoint"
#define VERSION 1
#define CHECKSUM_KEY ",\"checksum\":\""
#define MAX_NAME_BYTES 200

void reid_manifest_fini(reid_manifest *manifest)
{
    for (size_t i = 0; i < manifest->libraries.count; i++) {
        free(manifest->libraries.items[i].name);
        free(manifest->libraries.items[i].version);
    }
    for (size_t i = 0; i < manifest->files.count; i++)
        free(manifest->files.items[i].name);
    reid_vec_fini(&manifest->libraries);
    reid_vec_fini(&manifest->files);
    free(manifest->name);
    *manifest = (reid_manifest){0};
}

const reid_manifest_file *reid_manifest_find(const reid_manifest *manifest, const char *file)
{
    for (size_t i = 0; i < manifest->files.count; i++) {
        if (strcmp(manifest->files.items[i].name, file) == 0)
            return &manifest->files.items[i];
    }
    return NULL;
}

bool reid_manifest_is_file_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= MAX_NAME_BYTES && name[0] != '.' && !strchr(name, '/') &&
           strcmp(name, REID_MANIFEST_FILE) != 0;
}

/* ---- writing ---- */

/* JSON numbers are doubles to many readers; a hash goes as text. */
static void render_hash(reid_json_writer *w, const char *key, uint64_t value)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    reid_json_key(w, key);
    reid_json_string(w, text);
}

static void render_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static void render_files(reid_json_writer *w, const reid_manifest *m)
{
    reid_json_key(w, "files");
    reid_json_array(w);
    for (size_t i = 0; i < m->files.count; i++) {
        reid_json_object(w);
        reid_json_key(w, "name");
        reid_json_string(w, m->files.items[i].name);
        render_int(w, "bytes", (int64_t)m->files.items[i].bytes);
        render_hash(w, "xxh3", m->files.items[i].hash);
        reid_json_end_object(w);
    }
    reid_json_end_array(w);
}

void reid_manifest_render(const reid_manifest *m, reid_str *out)
{
    reid_json_writer w = reid_json_begin(out);
    reid_json_object(&w);
    reid_json_key(&w, "format");
    reid_json_string(&w, FORMAT);
    render_int(&w, "version", VERSION);
    reid_json_key(&w, "name");
    reid_json_string(&w, m->name);
    render_int(&w, "iteration", m->iteration);
    render_int(&w, "epoch", m->epoch);
    render_int(&w, "world_size", m->world_size);
    render_int(&w, "created_ms", m->created_ms);
    render_hash(&w, "config_hash", m->config_hash);
    reid_json_key(&w, "libraries");
    reid_json_object(&w);
    for (size_t i = 0; i < m->libraries.count; i++) {
        reid_json_key(&w, m->libraries.items[i].name);
        reid_json_string(&w, m->libraries.items[i].version);
    }
    reid_json_end_object(&w);
    render_files(&w, m);
    reid_json_end_object(&w);
    reid_manifest_seal(out);
}

void reid_manifest_seal(reid_str *text)
{
    REID_ASSERT(text->length > 0 && text->data[text->length - 1] == '}');
    uint64_t checksum = reid_hash64(text->data, text->length, 0);
    text->data[--text->length] = '\0';
    reid_str_addf(text, CHECKSUM_KEY "%016llx\"}\n", (unsigned long long)checksum);
}

/* ---- reading ---- */

static bool parse_hash(const reid_json *value, uint64_t *ret_hash)
{
    const char *text = reid_json_as_string(value, "");
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *ret_hash = strtoull(text, NULL, 16);
    return true;
}

/* The checksum member is cut off and the object closed again, in place, then hashed. */
static bool checksum_agrees(char *text, size_t size)
{
    const size_t tail = strlen(CHECKSUM_KEY) + 16 + strlen("\"}\n");
    if (size <= tail || memcmp(text + size - tail, CHECKSUM_KEY, strlen(CHECKSUM_KEY)) != 0 ||
        memcmp(text + size - 3, "\"}\n", 3) != 0)
        return false;
    char expected[17], actual[17];
    memcpy(expected, text + size - tail + strlen(CHECKSUM_KEY), 16);
    expected[16] = '\0';
    char cut = text[size - tail];
    text[size - tail] = '}';
    snprintf(actual, sizeof actual, "%016llx",
             (unsigned long long)reid_hash64(text, size - tail + 1, 0));
    text[size - tail] = cut;
    return strcmp(expected, actual) == 0;
}

static bool parse_files(const reid_json *list, reid_manifest *m)
{
    if (reid_json_type_of(list) != REID_JSON_ARRAY)
        return false;
    for (size_t i = 0; i < reid_json_count(list); i++) {
        const reid_json *entry = reid_json_at(list, i);
        const char *name = reid_json_as_string(reid_json_get(entry, "name"), "");
        int64_t bytes = reid_json_as_int(reid_json_get(entry, "bytes"), -1);
        uint64_t hash;
        if (!reid_manifest_is_file_name(name) || bytes < 0 ||
            !parse_hash(reid_json_get(entry, "xxh3"), &hash) || reid_manifest_find(m, name))
            return false;
        reid_manifest_file file = {
            .name = reid_xstrdup(name), .bytes = (uint64_t)bytes, .hash = hash};
        reid_vec_push(&m->files, file);
    }
    return true;
}

static bool parse_libraries(const reid_json *object, reid_manifest *m)
{
    if (reid_json_type_of(object) != REID_JSON_OBJECT)
        return false;
    for (size_t i = 0; i < reid_json_count(object); i++) {
        const reid_json *value;
        const char *name = reid_json_member(object, i, &value);
        const char *version = reid_json_as_string(value, NULL);
        if (!version)
            return false;
        reid_manifest_library library = {reid_xstrdup(name), reid_xstrdup(version)};
        reid_vec_push(&m->libraries, library);
    }
    return true;
}

static bool parse_members(const reid_json *root, reid_manifest *m)
{
    int64_t world = reid_json_as_int(reid_json_get(root, "world_size"), 0);
    m->name = reid_xstrdup(reid_json_as_string(reid_json_get(root, "name"), ""));
    m->iteration = reid_json_as_int(reid_json_get(root, "iteration"), -1);
    m->epoch = reid_json_as_int(reid_json_get(root, "epoch"), -1);
    m->created_ms = reid_json_as_int(reid_json_get(root, "created_ms"), 0);
    m->world_size = (int)world;
    return reid_manifest_is_file_name(m->name) && m->iteration >= 0 && m->epoch >= 0 && world > 0 &&
           world <= INT32_MAX && parse_hash(reid_json_get(root, "config_hash"), &m->config_hash) &&
           parse_libraries(reid_json_get(root, "libraries"), m) &&
           parse_files(reid_json_get(root, "files"), m);
}

reid_status reid_manifest_parse(const char *path, char *text, size_t size, reid_manifest *m,
                                reid_error *err)
{
    reid_json *root;
    if (!checksum_agrees(text, size))
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is damaged: its checksum does not agree",
                         path);
    if (reid_json_parse(text, size, &root, NULL) != REID_OK)
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is damaged: it is not JSON", path);
    reid_status status = REID_OK;
    const char *format = reid_json_as_string(reid_json_get(root, "format"), "");
    int64_t version = reid_json_as_int(reid_json_get(root, "version"), 0);
    if (strcmp(format, FORMAT) != 0)
        status = reid_fail(err, REID_ERR_CORRUPT, "'%s' is not the manifest of a checkpoint", path);
    else if (version != VERSION)
        status = reid_fail(err, REID_ERR_UNSUPPORTED,
                           "'%s' has version %lld; this program reads version %d", path,
                           (long long)version, VERSION);
    else if (!parse_members(root, m))
        status = reid_fail(err, REID_ERR_CORRUPT,
                           "'%s' is damaged: a member is missing or out of range", path);
    reid_json_free(root);
    return status;
}

reid_status reid_manifest_read(const char *dir, reid_manifest *ret_manifest, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(dir, REID_MANIFEST_FILE);
    char *text;
    size_t size;
    if (!reid_path_is_dir(dir))
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no checkpoint '%s'", dir);
    if (!reid_path_exists(path))
        return reid_fail(err, REID_ERR_NOT_FOUND,
                         "'%s' is not a complete checkpoint: it has no " REID_MANIFEST_FILE, dir);
    REID_TRY(reid_file_read(path, REID_MANIFEST_LIMIT_BYTES, &text, &size, err));
    reid_status status = reid_manifest_parse(path, text, size, ret_manifest, err);
    free(text);
    return status;
}
