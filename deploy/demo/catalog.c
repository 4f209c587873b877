#include "catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"

#define INDEX_LIMIT ((size_t)16 << 20)
#define FIRST_EMOJI_BLOCK                                                                          \
    0x1F300u /* "others" come from here on: below are letters, digits and modifiers */
#define TONE_FIRST 0x1F3FBu
#define TONE_LAST 0x1F3FFu

static bool parse_code(const char *code, demo_emoji *emoji)
{
    while (*code != '\0' && emoji->length < DEMO_MAX_SEQUENCE) {
        char *end;
        unsigned long value = strtoul(code, &end, 16);
        if (end == code || value > 0x10FFFF || (*end != '-' && *end != '\0'))
            return false;
        emoji->sequence[emoji->length++] = (uint32_t)value;
        code = *end == '-' ? end + 1 : end;
    }
    return *code == '\0' && emoji->length > 0;
}

/* folder/NAME.png when there is such a file, for a name such as ":smile:". */
static char *find_png(const char *folder, const char *name)
{
    size_t length = strlen(name);
    if (length > 2 && name[0] == ':' && name[length - 1] == ':') {
        name++;
        length -= 2;
    }
    if (memchr(name, '/', length))
        return NULL;
    char *path = reid_xasprintf("%s/%.*s.png", folder, (int)length, name);
    if (!reid_path_is_file(path)) {
        free(path);
        return NULL;
    }
    return path;
}

static char *find_emojify(const char *folder, const reid_json *entry)
{
    char *path = find_png(folder, reid_json_as_string(reid_json_get(entry, "shortname"), ""));
    const reid_json *aliases = reid_json_get(entry, "aliases");
    for (size_t i = 0; !path && i < reid_json_count(aliases); i++)
        path = find_png(folder, reid_json_as_string(reid_json_at(aliases, i), ""));
    return path;
}

static reid_status read_index(const demo_sources *sources, reid_json **ret_root, reid_error *err)
{
    char *path = reid_path_join(sources->emojione, "config/index.json"), *text = NULL;
    size_t size = 0;
    reid_status status = reid_file_read(path, INDEX_LIMIT, &text, &size, err);
    if (status == REID_OK && (status = reid_json_parse(text, size, ret_root, err)) != REID_OK)
        reid_error_prefix(err, "cannot read '%s'", path);
    free(text);
    free(path);
    return status;
}

static int compare_emoji(const void *a, const void *b)
{
    return strcmp(((const demo_emoji *)a)->code, ((const demo_emoji *)b)->code);
}

static int compare_points(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void list_emoji(const demo_sources *sources, const reid_json *root, demo_catalog *catalog)
{
    char *drawings = reid_path_join(sources->emojione, "assets/png");
    for (size_t i = 0; i < reid_json_count(root); i++) {
        const reid_json *entry = NULL;
        reid_json_member(root, i, &entry);
        demo_emoji emoji = {0};
        const char *code = reid_json_as_string(reid_json_get(entry, "unicode"), "");
        if (!parse_code(code, &emoji))
            continue;
        emoji.code = reid_xstrdup(code);
        emoji.emojione = find_png(drawings, code);
        emoji.emojify = find_emojify(sources->emojify, entry);
        reid_vec_push(&catalog->emoji, emoji);
    }
    free(drawings);
    qsort(catalog->emoji.items, catalog->emoji.count, sizeof *catalog->emoji.items, compare_emoji);
}

/* Code points of the font that no emoji of the index has. */
static void list_others(demo_catalog *catalog)
{
    REID_VEC(uint32_t) known = {0};
    for (size_t i = 0; i < catalog->emoji.count; i++)
        for (size_t k = 0; k < catalog->emoji.items[i].length; k++)
            reid_vec_push(&known, catalog->emoji.items[i].sequence[k]);
    if (known.count > 0)
        qsort(known.items, known.count, sizeof *known.items, compare_points);
    for (uint32_t point = demo_font_next(catalog->font, FIRST_EMOJI_BLOCK - 1); point != 0;
         point = demo_font_next(catalog->font, point)) {
        bool tone = point >= TONE_FIRST && point <= TONE_LAST;
        if (!tone &&
            !bsearch(&point, known.items, known.count, sizeof *known.items, compare_points))
            reid_vec_push(&catalog->others, point);
    }
    reid_vec_fini(&known);
}

reid_status demo_catalog_load(const demo_sources *sources, demo_catalog *ret_catalog,
                              reid_error *err)
{
    demo_catalog catalog = {0};
    reid_json *root = NULL;
    REID_TRY(demo_font_open(sources->font, &catalog.font, err));
    reid_status status = read_index(sources, &root, err);
    if (status == REID_OK) {
        list_emoji(sources, root, &catalog);
        list_others(&catalog);
        if (catalog.emoji.count == 0)
            status = reid_fail(err, REID_ERR_INVALID, "the index below '%s' lists no emoji",
                               sources->emojione);
    }
    reid_json_free(root);
    if (status == REID_OK)
        *ret_catalog = catalog;
    else
        demo_catalog_fini(&catalog);
    return status;
}

void demo_catalog_fini(demo_catalog *catalog)
{
    for (size_t i = 0; i < catalog->emoji.count; i++) {
        free(catalog->emoji.items[i].code);
        free(catalog->emoji.items[i].emojione);
        free(catalog->emoji.items[i].emojify);
    }
    reid_vec_fini(&catalog->emoji);
    reid_vec_fini(&catalog->others);
    demo_font_free(catalog->font);
    catalog->font = NULL;
}

reid_status demo_catalog_draw(demo_catalog *catalog, const demo_emoji *emoji,
                              demo_picture pictures[DEMO_MAKERS], int *ret_count, reid_error *err)
{
    memset(pictures, 0, DEMO_MAKERS * sizeof *pictures);
    reid_status status =
        demo_font_draw(catalog->font, emoji->sequence, emoji->length, &pictures[DEMO_NOTO], err);
    if (status == REID_OK && emoji->emojione)
        status = demo_picture_read_png(emoji->emojione, &pictures[DEMO_EMOJIONE], err);
    if (status == REID_OK && emoji->emojify)
        status = demo_picture_read_png(emoji->emojify, &pictures[DEMO_EMOJIFY], err);
    int count = 0;
    for (int m = 0; m < DEMO_MAKERS; m++) {
        count += pictures[m].width > 0;
        if (status != REID_OK)
            demo_picture_fini(&pictures[m]);
    }
    *ret_count = count;
    return status;
}
