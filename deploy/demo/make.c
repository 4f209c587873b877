#include "make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#define MANIFEST "manifest.json"
#define MANIFEST_LIMIT ((size_t)1 << 20)
#define LAYOUT_VERSION 2 /* goes up when the same options make other images */
#define TEST_EVERY 4     /* one identity of so many is for testing */
#define QUERIES 2 /* images of a test identity that are queries; the rest goes to the gallery */
#define DISTRACTORS_PER_IDENTITY 10 /* one distractor for so many identities */
#define JUNK_IMAGES 5
#define SHEET_ROWS 12
#define SHEET_IMAGES 4

enum { TRAIN, QUERY, GALLERY, SPLITS };
static const char *const split_folders[SPLITS] = {"bounding_box_train", "query",
                                                  "bounding_box_test"};

/* What the random numbers of a stream are for. */
enum {
    STREAM_ORDER = 1,
    STREAM_IDENTITY = 1 << 20,
    STREAM_DISTRACTOR = 1 << 21,
    STREAM_JUNK = 1 << 22
};

typedef struct maker_state {
    const demo_options *options;
    const char *folder; /* where it is being made */
    demo_catalog catalog;
    REID_VEC(uint64_t)
    hashes; /* of pictures in use: flags and others are drawn twice under two codes */
    int images[SPLITS], identities[SPLITS];
    int accepted, frame;
    uint8_t *sheet; /* NULL: not wanted */
} maker_state;

static char *recipe_text(const demo_options *options)
{
    return reid_xasprintf("v%d identities=%d images=%d seed=%llu side=%d", LAYOUT_VERSION,
                          options->identities, options->images, (unsigned long long)options->seed,
                          DEMO_SIDE);
}

/* The recipe in a folder's manifest; NULL when it has none. */
static char *read_recipe(const char *folder)
{
    char *path = reid_path_join(folder, MANIFEST), *text = NULL, *recipe = NULL;
    size_t size = 0;
    reid_json *root = NULL;
    if (reid_path_is_file(path) &&
        reid_file_read(path, MANIFEST_LIMIT, &text, &size, NULL) == REID_OK &&
        reid_json_parse(text, size, &root, NULL) == REID_OK) {
        const char *found = reid_json_as_string(reid_json_get(root, "recipe"), NULL);
        recipe = found ? reid_xstrdup(found) : NULL;
    }
    reid_json_free(root);
    free(text);
    free(path);
    return recipe;
}

bool demo_is_complete(const demo_options *options)
{
    char *there = read_recipe(options->out), *wanted = recipe_text(options);
    bool same = there && strcmp(there, wanted) == 0;
    free(there);
    free(wanted);
    return same;
}

/* One image: <folder>/<split>/<pid>_c<camera>s1_<frame>_00.jpg */
static reid_status shoot(maker_state *m, const demo_picture *picture, int split, int pid,
                         int camera, reid_rng *rng, uint8_t *ret_rgb, reid_error *err)
{
    demo_picture_shoot(picture, camera, rng, ret_rgb);
    char *path = reid_xasprintf("%s/%s/%0*d_c%ds1_%06d_00.jpg", m->folder, split_folders[split],
                                pid < 0 ? 2 : 4, pid, camera + 1, ++m->frame);
    reid_status status = demo_image_write_jpeg(path, ret_rgb, err);
    free(path);
    m->images[split]++;
    return status;
}

/* The sheet shows, for the first identities, the first images of each camera side by side. */
static void show_on_sheet(maker_state *m, int row, int camera, int image, const uint8_t *rgb)
{
    if (!m->sheet || row >= SHEET_ROWS || image >= SHEET_IMAGES)
        return;
    size_t stride = (size_t)DEMO_MAKERS * SHEET_IMAGES * DEMO_SIDE * 3;
    uint8_t *to = m->sheet + (size_t)row * DEMO_SIDE * stride +
                  (size_t)(camera * SHEET_IMAGES + image) * DEMO_SIDE * 3;
    for (size_t y = 0; y < DEMO_SIDE; y++)
        memcpy(to + y * stride, rgb + y * DEMO_SIDE * 3, (size_t)DEMO_SIDE * 3);
}

static bool seen_before(const maker_state *m, const demo_picture pictures[DEMO_MAKERS])
{
    for (int c = 0; c < DEMO_MAKERS; c++) {
        uint64_t hash = pictures[c].width > 0 ? demo_picture_hash(&pictures[c]) : 0;
        for (size_t i = 0; pictures[c].width > 0 && i < m->hashes.count; i++)
            if (m->hashes.items[i] == hash)
                return true;
    }
    return false;
}

static void remember(maker_state *m, const demo_picture pictures[DEMO_MAKERS])
{
    for (int c = 0; c < DEMO_MAKERS; c++)
        if (pictures[c].width > 0)
            reid_vec_push(&m->hashes, demo_picture_hash(&pictures[c]));
}

/* All images of one identity. Every fourth identity is for testing: its query camera goes round the
 * makers it has. */
static reid_status shoot_identity(maker_state *m, const demo_picture pictures[DEMO_MAKERS],
                                  int makers, uint32_t key, reid_error *err)
{
    int number = m->accepted++, pid = number + 1;
    bool training = number % TEST_EVERY != TEST_EVERY - 1;
    int query_maker = number / TEST_EVERY % makers, seen = 0;
    m->identities[training ? TRAIN : GALLERY]++;
    m->identities[QUERY] += !training;
    for (int c = 0; c < DEMO_MAKERS; c++) {
        if (pictures[c].width == 0)
            continue;
        bool queries = !training && seen++ == query_maker;
        for (int i = 0; i < m->options->images; i++) {
            uint8_t rgb[DEMO_IMAGE_BYTES];
            reid_rng rng = reid_rng_stream(m->options->seed, REID_RNG_DEMO, STREAM_IDENTITY + key,
                                           (uint32_t)(c * 1000 + i));
            int split = training ? TRAIN : queries && i < QUERIES ? QUERY : GALLERY;
            REID_TRY(shoot(m, &pictures[c], split, pid, c, &rng, rgb, err));
            show_on_sheet(m, number, c, i, rgb);
        }
    }
    return REID_OK;
}

/* Emoji that all makers drew come first, simple ones before sequences (variants of skin and
 * family); in random order within. */
static int rank_of(const demo_emoji *emoji)
{
    return (emoji->emojify ? 0 : 2) + (emoji->length > 1);
}

static uint32_t *order_emoji(const maker_state *m)
{
    size_t count = m->catalog.emoji.count, filled = 0;
    uint32_t *shuffled = reid_xcalloc(count, sizeof *shuffled),
             *order = reid_xcalloc(count, sizeof *order);
    for (size_t i = 0; i < count; i++)
        shuffled[i] = (uint32_t)i;
    reid_rng rng = reid_rng_stream(m->options->seed, REID_RNG_DEMO, STREAM_ORDER, 0);
    reid_rng_shuffle_u32(&rng, shuffled, count);
    for (int rank = 0; rank < 4; rank++)
        for (size_t i = 0; i < count; i++)
            if (rank_of(&m->catalog.emoji.items[shuffled[i]]) == rank)
                order[filled++] = shuffled[i];
    free(shuffled);
    return order;
}

static reid_status make_identity(maker_state *m, uint32_t index, reid_error *err)
{
    demo_picture pictures[DEMO_MAKERS];
    int makers = 0;
    REID_TRY(
        demo_catalog_draw(&m->catalog, &m->catalog.emoji.items[index], pictures, &makers, err));
    reid_status status = REID_OK;
    if (makers >= 2 && !seen_before(m, pictures)) {
        remember(m, pictures);
        status = shoot_identity(m, pictures, makers, index, err);
    }
    for (int c = 0; c < DEMO_MAKERS; c++)
        demo_picture_fini(&pictures[c]);
    return status;
}

static reid_status make_identities(maker_state *m, reid_error *err)
{
    int wanted = m->options->identities;
    uint32_t *order = order_emoji(m);
    reid_status status = REID_OK;
    for (size_t i = 0;
         status == REID_OK && i < m->catalog.emoji.count && (wanted == 0 || m->accepted < wanted);
         i++)
        status = make_identity(m, order[i], err);
    free(order);
    if (status == REID_OK && m->accepted < wanted)
        return reid_fail(err, REID_ERR_INVALID, "%d identities are wanted, but there are only %d",
                         wanted, m->accepted);
    return status;
}

/* Distractors (identity 0) are emoji that one maker alone drew; junk (identity -1) is left out by
 * every reader. */
static reid_status make_distractors(maker_state *m, reid_error *err)
{
    int wanted = m->accepted / DISTRACTORS_PER_IDENTITY, made = 0;
    for (size_t i = 0; i < m->catalog.others.count && made < wanted + JUNK_IMAGES; i++) {
        demo_picture picture;
        uint8_t rgb[DEMO_IMAGE_BYTES];
        REID_TRY(demo_font_draw(m->catalog.font, &m->catalog.others.items[i], 1, &picture, err));
        if (picture.width == 0)
            continue;
        bool junk = made >= wanted;
        reid_rng rng = reid_rng_stream(m->options->seed, REID_RNG_DEMO,
                                       junk ? STREAM_JUNK : STREAM_DISTRACTOR, (uint32_t)i);
        reid_status status =
            shoot(m, &picture, GALLERY, junk ? -1 : 0, made % DEMO_MAKERS, &rng, rgb, err);
        demo_picture_fini(&picture);
        REID_TRY(status);
        made++;
    }
    return REID_OK;
}

static reid_status write_manifest(const maker_state *m, reid_error *err)
{
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    char *recipe = recipe_text(m->options);
    reid_json_object(&w);
    reid_json_key(&w, "recipe");
    reid_json_string(&w, recipe);
    reid_json_key(&w, "origin");
    reid_json_string(&w, m->options->origin);
    reid_json_key(&w, "identities");
    reid_json_int(&w, m->accepted);
    for (int s = 0; s < SPLITS; s++) {
        reid_json_key(&w, split_folders[s]);
        reid_json_object(&w);
        reid_json_key(&w, "identities");
        reid_json_int(&w, m->identities[s]);
        reid_json_key(&w, "images");
        reid_json_int(&w, m->images[s]);
        reid_json_end_object(&w);
    }
    reid_json_end_object(&w);
    reid_str_add_char(&text, '\n');
    char *path = reid_path_join(m->folder, MANIFEST);
    reid_status status = reid_file_write_atomic(path, text.data, text.length, err);
    free(path);
    free(recipe);
    reid_str_fini(&text);
    return status;
}

static reid_status make_folders(const char *folder, reid_error *err)
{
    REID_TRY(reid_remove_tree(folder, err)); /* left by one that was stopped */
    for (int s = 0; s < SPLITS; s++) {
        char *path = reid_path_join(folder, split_folders[s]);
        reid_status status = reid_make_dirs(path, 0755, err);
        free(path);
        REID_TRY(status);
    }
    return REID_OK;
}

static reid_status write_sheet(const maker_state *m, reid_error *err)
{
    if (!m->sheet)
        return REID_OK;
    return demo_image_write_png(m->options->sheet, m->sheet, DEMO_MAKERS * SHEET_IMAGES * DEMO_SIDE,
                                SHEET_ROWS * DEMO_SIDE, err);
}

static reid_status make_all(maker_state *m, reid_error *err)
{
    REID_TRY(demo_catalog_load(&m->options->sources, &m->catalog, err));
    REID_TRY(make_folders(m->folder, err));
    REID_TRY(make_identities(m, err));
    REID_TRY(make_distractors(m, err));
    REID_TRY(write_sheet(m, err));
    return write_manifest(m, err);
}

/* Only an empty folder or an older demo may be in the way. */
static reid_status check_target(const char *out, reid_error *err)
{
    if (!reid_path_exists(out))
        return REID_OK;
    char *recipe = read_recipe(out);
    bool demo = recipe != NULL;
    free(recipe);
    if (demo)
        return REID_OK;
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    REID_TRY(reid_dir_list(out, &entries, &count, err));
    reid_dir_free(entries, count);
    if (count > 0)
        return reid_fail(err, REID_ERR_EXISTS,
                         "'%s' is there and was not made by this program; choose another folder",
                         out);
    return REID_OK;
}

static reid_status move_into_place(const char *from, const char *out, reid_error *err)
{
    char *old = reid_xasprintf("%s.old", out);
    reid_status status = reid_remove_tree(old, err);
    if (status == REID_OK && rename(out, old) != 0 && errno != ENOENT)
        status = reid_fail_errno(err, errno, "cannot move '%s' away", out);
    if (status == REID_OK && rename(from, out) != 0)
        status = reid_fail_errno(err, errno, "cannot rename '%s' to '%s'", from, out);
    if (status == REID_OK)
        status = reid_remove_tree(old, err);
    free(old);
    return status;
}

reid_status demo_make(const demo_options *options, reid_error *err)
{
    REID_TRY(check_target(options->out, err));
    char *folder =
        reid_xasprintf("%s.making", options->out); /* main has removed a slash at the end */
    maker_state m = {.options = options, .folder = folder};
    if (options->sheet)
        m.sheet = reid_xcalloc(
            (size_t)SHEET_ROWS * DEMO_SIDE * DEMO_MAKERS * SHEET_IMAGES * DEMO_SIDE, 3);
    reid_status status = make_all(&m, err);
    if (status == REID_OK)
        status = move_into_place(folder, options->out, err);
    if (status == REID_OK)
        printf("%s: %d identities; %d training, %d query and %d gallery images\n", options->out,
               m.accepted, m.images[TRAIN], m.images[QUERY], m.images[GALLERY]);
    else
        reid_remove_tree(folder, NULL);
    demo_catalog_fini(&m.catalog);
    reid_vec_fini(&m.hashes);
    free(m.sheet);
    free(folder);
    return status;
}
