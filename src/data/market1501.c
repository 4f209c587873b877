/* Market-1501 (Zheng et al., ICCV 2015) and every folder laid out like it.
 *
 * Facts from fast-reid's reader: "Market-1501-v15.09.15" below the root, or the root itself; the
 * pattern ([-\d]+)_c(\d); identity -1 is junk and left out, 0 are distractors. It searches the
 * pattern in the whole path, so that a folder such as /data/2024_cams/ gives every image the wrong
 * identity; here only the base name is searched. It takes one digit of the camera, here all digits
 * count (the same for every name of Market-1501). It allows identities up to 1501 and six cameras;
 * here any number goes, since the layout is used for other data too. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "data/dataset_reader.h"

#define TOP_FOLDER "Market-1501-v15.09.15"
#define NUMBER_LIMIT 100000000 /* keeps identities far from overflow */

static const char *const split_folders[] = {
    [REID_SPLIT_TRAIN] = "bounding_box_train",
    [REID_SPLIT_QUERY] = "query",
    [REID_SPLIT_GALLERY] = "bounding_box_test",
};

static bool is_number_char(char c)
{
    return c == '-' || isdigit((unsigned char)c);
}

/* Reads at most nine digits after an optional minus; returns the end, NULL when it is no number. */
static const char *read_number(const char *text, int *ret_value)
{
    bool negative = *text == '-';
    text += negative;
    int value = 0;
    const char *digit = text;
    for (; isdigit((unsigned char)*digit); digit++) {
        value = value * 10 + (*digit - '0');
        if (value > NUMBER_LIMIT)
            return NULL;
    }
    *ret_value = negative ? -value : value;
    return digit > text ? digit : NULL;
}

reid_status reid_market1501_parse_name(const char *name, int *ret_pid, int *ret_camid,
                                       reid_error *err)
{
    for (const char *p = name; *p != '\0'; p++) {
        if (!is_number_char(*p))
            continue;
        const char *end = p;
        while (is_number_char(*end))
            end++;
        if (end[0] != '_' || end[1] != 'c' || !isdigit((unsigned char)end[2])) {
            p = end - 1;
            continue;
        }
        int pid, camera;
        if (read_number(p, &pid) != end || !read_number(end + 2, &camera) || camera < 1 || pid < -1)
            break;
        *ret_pid = pid;
        *ret_camid = camera - 1;
        return REID_OK;
    }
    return reid_fail(err, REID_ERR_INVALID,
                     "the name '%s' does not tell identity and camera; expected one like "
                     "0002_c1s1_000451_03.jpg",
                     name);
}

static bool is_image_name(const char *name)
{
    static const char *const extensions[] = {".jpg", ".jpeg", ".png"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof extensions / sizeof *extensions; i++)
        if (strcasecmp(dot, extensions[i]) == 0)
            return true;
    return false;
}

static reid_status read_folder(const char *folder, reid_raw_list *list, reid_error *err)
{
    reid_dir_entry *entries = NULL;
    size_t count = 0, before = list->count;
    reid_status status = reid_dir_list(folder, &entries, &count, err);
    for (size_t i = 0; status == REID_OK && i < count; i++) {
        if (entries[i].is_dir || !is_image_name(entries[i].name))
            continue;
        reid_raw_item item = {0};
        status = reid_market1501_parse_name(entries[i].name, &item.pid, &item.camid, err);
        if (status != REID_OK) {
            reid_error_prefix(err, "folder '%s'", folder);
        } else if (item.pid != -1) {
            item.path = reid_path_join(folder, entries[i].name);
            reid_vec_push(list, item);
        }
    }
    reid_dir_free(entries, count);
    if (status == REID_OK && list->count == before)
        return reid_fail(err, REID_ERR_NOT_FOUND,
                         "the folder '%s' holds no images (.jpg, .jpeg, .png) of a known identity",
                         folder);
    return status;
}

/* The folder that holds the splits. */
static reid_status find_top(const char *root, char **ret_top, reid_error *err)
{
    char *top = reid_path_join(root, TOP_FOLDER);
    if (!reid_path_is_dir(top)) {
        free(top);
        top = reid_xstrdup(root);
    }
    char *train = reid_path_join(top, split_folders[REID_SPLIT_TRAIN]);
    bool found = reid_path_is_dir(train);
    free(train);
    if (!found) {
        free(top);
        return reid_fail(
            err, REID_ERR_NOT_FOUND,
            "Market1501 was not found under '%s': neither '%s/%s' nor '%s' is a folder; set "
            "DATASETS.ROOT or FASTREID_DATASETS to the folder that holds the data",
            root, TOP_FOLDER, split_folders[REID_SPLIT_TRAIN], split_folders[REID_SPLIT_TRAIN]);
    }
    *ret_top = top;
    return REID_OK;
}

reid_status reid_market1501_read(const char *root, reid_split split, reid_raw_list *list,
                                 reid_error *err)
{
    char *top = NULL;
    REID_TRY(find_top(root, &top, err));
    char *folder = reid_path_join(top, split_folders[split]);
    reid_status status;
    if (!reid_path_is_dir(folder))
        status = reid_fail(err, REID_ERR_NOT_FOUND, "Market1501: the folder '%s' does not exist",
                           folder);
    else
        status = read_folder(folder, list, err);
    free(folder);
    free(top);
    return status;
}
