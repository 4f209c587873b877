#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"
#include "base/vec.h"
#include "data/dataset_reader.h"
#include "data/table.h"

/* One data set, one row. */
static const reid_dataset_reader readers[] = {
    {.name = "Market1501", .label = "market1501", .read = reid_market1501_read},
};

/* A training image before relabelling: identity and camera are still texts ("market1501_12"). */
typedef struct labelled_item {
    char *path, *pid, *camid;
} labelled_item;
typedef REID_VEC(labelled_item) labelled_list;

static reid_status find_reader(const char *name, const reid_dataset_reader **ret_reader,
                               reid_error *err)
{
    for (size_t i = 0; i < REID_COUNT_OF(readers); i++) {
        if (strcmp(readers[i].name, name) == 0) {
            *ret_reader = &readers[i];
            return REID_OK;
        }
    }
    reid_str known = REID_STR_INIT;
    for (size_t i = 0; i < REID_COUNT_OF(readers); i++)
        reid_str_addf(&known, "%s%s", i ? ", " : "", readers[i].name);
    reid_fail(err, REID_ERR_UNSUPPORTED, "the data set '%s' is not known; known ones: %s", name,
              reid_str_text(&known));
    reid_str_fini(&known);
    return REID_ERR_UNSUPPORTED;
}

/* Caller frees. */
static char *data_root(const reid_config *config)
{
    const char *root = reid_config_string(config, "DATASETS.ROOT");
    if (root[0] == '\0')
        root = getenv("FASTREID_DATASETS");
    if (root == NULL || root[0] == '\0')
        root = "datasets";
    return reid_path_absolute(root);
}

static void raw_list_fini(reid_raw_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].path);
    reid_vec_fini(list);
}

static void labelled_list_fini(labelled_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].path);
        free(list->items[i].pid);
        free(list->items[i].camid);
    }
    reid_vec_fini(list);
}

/* Appends one split as texts; `middle` is "" for training images and "test_" for those that
 * COMBINEALL adds. */
static reid_status append_split(const reid_dataset_reader *reader, const char *root,
                                reid_split split, const char *middle, bool skip_distractors,
                                labelled_list *list, reid_error *err)
{
    reid_raw_list raw = {0};
    reid_status status = reader->read(root, split, &raw, err);
    for (size_t i = 0; status == REID_OK && i < raw.count; i++) {
        reid_raw_item *item = &raw.items[i];
        if (skip_distractors && item->pid == 0)
            continue;
        labelled_item labelled = {
            .path = item->path,
            .pid = reid_xasprintf("%s_%s%d", reader->label, middle, item->pid),
            .camid = reid_xasprintf("%s_%s%d", reader->label, middle, item->camid),
        };
        item->path = NULL; /* moved */
        reid_vec_push(list, labelled);
    }
    raw_list_fini(&raw);
    return status;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Numbers the distinct texts in sorted order; `texts` and `ret_labels` have `count` entries. */
static int number_texts(size_t count, const char *const *texts, int *ret_labels)
{
    const char **sorted = reid_xcalloc(count, sizeof *sorted);
    memcpy(sorted, texts, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_texts);
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++)
        if (distinct == 0 || strcmp(sorted[distinct - 1], sorted[i]) != 0)
            sorted[distinct++] = sorted[i];
    for (size_t i = 0; i < count; i++) {
        const char **found = bsearch(&texts[i], sorted, distinct, sizeof *sorted, compare_texts);
        ret_labels[i] = (int)(found - sorted);
    }
    free(sorted);
    return (int)distinct;
}

static reid_dataset *relabel(char *own_name, labelled_list *list)
{
    reid_dataset *dataset = reid_xcalloc(1, sizeof *dataset);
    dataset->name = own_name;
    dataset->count = list->count;
    dataset->items = reid_xcalloc(list->count, sizeof *dataset->items);
    const char **texts = reid_xcalloc(list->count, sizeof *texts);
    int *labels = reid_xcalloc(list->count, sizeof *labels);

    for (size_t i = 0; i < list->count; i++)
        texts[i] = list->items[i].pid;
    dataset->num_pids = number_texts(list->count, texts, labels);
    for (size_t i = 0; i < list->count; i++)
        dataset->items[i].pid = labels[i];

    for (size_t i = 0; i < list->count; i++)
        texts[i] = list->items[i].camid;
    dataset->num_cams = number_texts(list->count, texts, labels);
    for (size_t i = 0; i < list->count; i++) {
        dataset->items[i].camid = labels[i];
        dataset->items[i].path = list->items[i].path;
        list->items[i].path = NULL; /* moved */
    }
    free(labels);
    free(texts);
    return dataset;
}

static reid_status append_set(const reid_config *config, const char *root, const char *name,
                              labelled_list *list, reid_error *err)
{
    const reid_dataset_reader *reader;
    REID_TRY(find_reader(name, &reader, err));
    REID_TRY(append_split(reader, root, REID_SPLIT_TRAIN, "", false, list, err));
    if (reid_config_bool(config, "DATASETS.COMBINEALL")) {
        REID_TRY(append_split(reader, root, REID_SPLIT_QUERY, "test_", true, list, err));
        REID_TRY(append_split(reader, root, REID_SPLIT_GALLERY, "test_", true, list, err));
    }
    return REID_OK;
}

reid_status reid_dataset_open_train(const reid_config *config, reid_dataset **ret_dataset,
                                    reid_error *err)
{
    size_t sets = reid_config_count(config, "DATASETS.NAMES");
    if (sets == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "DATASETS.NAMES is empty: there is nothing to train on");
    char *root = data_root(config);
    reid_str names = REID_STR_INIT;
    labelled_list list = {0};
    reid_status status = REID_OK;
    for (size_t i = 0; status == REID_OK && i < sets; i++) {
        const char *name = reid_config_string_at(config, "DATASETS.NAMES", i);
        reid_str_addf(&names, "%s%s", i ? "+" : "", name);
        status = append_set(config, root, name, &list, err);
    }
    if (status == REID_OK)
        *ret_dataset = relabel(reid_str_take(&names), &list);
    labelled_list_fini(&list);
    reid_str_fini(&names);
    free(root);
    return status;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static int count_distinct(size_t count, int *values)
{
    qsort(values, count, sizeof *values, compare_ints);
    int distinct = 0;
    for (size_t i = 0; i < count; i++)
        distinct += i == 0 || values[i] != values[i - 1];
    return distinct;
}

static reid_dataset *dataset_from_raw(const char *name, reid_raw_list *raw)
{
    reid_dataset *dataset = reid_xcalloc(1, sizeof *dataset);
    dataset->name = reid_xstrdup(name);
    dataset->count = raw->count;
    dataset->items = reid_xcalloc(raw->count, sizeof *dataset->items);
    int *values = reid_xcalloc(raw->count, sizeof *values);
    for (size_t i = 0; i < raw->count; i++) {
        reid_raw_item *item = &raw->items[i];
        dataset->items[i] =
            (reid_image_item){.path = item->path, .pid = item->pid, .camid = item->camid};
        item->path = NULL; /* moved */
        values[i] = item->pid;
    }
    dataset->num_pids = count_distinct(raw->count, values);
    for (size_t i = 0; i < raw->count; i++)
        values[i] = raw->items[i].camid;
    dataset->num_cams = count_distinct(raw->count, values);
    free(values);
    return dataset;
}

reid_status reid_dataset_open_test(const reid_config *config, const char *name,
                                   reid_dataset **ret_query, reid_dataset **ret_gallery,
                                   reid_error *err)
{
    const reid_dataset_reader *reader;
    REID_TRY(find_reader(name, &reader, err));
    char *root = data_root(config);
    reid_raw_list query = {0}, gallery = {0};
    reid_status status = reader->read(root, REID_SPLIT_QUERY, &query, err);
    if (status == REID_OK)
        status = reader->read(root, REID_SPLIT_GALLERY, &gallery, err);
    if (status == REID_OK) {
        *ret_query = dataset_from_raw(name, &query);
        *ret_gallery = dataset_from_raw(name, &gallery);
    }
    raw_list_fini(&query);
    raw_list_fini(&gallery);
    free(root);
    return status;
}

void reid_dataset_free(reid_dataset *dataset)
{
    if (!dataset)
        return;
    for (size_t i = 0; i < dataset->count; i++)
        free(dataset->items[i].path);
    free(dataset->items);
    free(dataset->name);
    free(dataset);
}

char *reid_dataset_table(size_t count, const char *const *subsets,
                         const reid_dataset *const *datasets)
{
    enum { COLUMNS = 4 };
    static const char *const header[COLUMNS] = {"subset", "# ids", "# images", "# cameras"};
    const char **cells = reid_xcalloc((count + 1) * COLUMNS, sizeof *cells);
    char(*numbers)[COLUMNS][24] = reid_xcalloc(count, sizeof *numbers);
    memcpy(cells, header, sizeof header);
    for (size_t i = 0; i < count; i++) {
        const reid_dataset *set = datasets[i];
        snprintf(numbers[i][1], sizeof numbers[i][1], "%d", set->num_pids);
        snprintf(numbers[i][2], sizeof numbers[i][2], "%zu", set->count);
        snprintf(numbers[i][3], sizeof numbers[i][3], "%d", set->num_cams);
        const char **row = cells + (i + 1) * COLUMNS;
        row[0] = subsets[i];
        for (size_t c = 1; c < COLUMNS; c++)
            row[c] = numbers[i][c];
    }
    char *table = reid_table_pipe(count + 1, COLUMNS, cells);
    free(numbers);
    free(cells);
    return table;
}
