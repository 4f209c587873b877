/* Configurations: YAML, and after a line of "%%" overrides, one word a line. What is accepted can
 * be written and read back; what is refused leaves the configuration as it was. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "config/config.h"
#include "config/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(reid_status status, const reid_error *err)
{
    REID_ASSERT(status == err->code);
    REID_ASSERT((status == REID_OK) == (err->text[0] == '\0'));
    REID_ASSERT(reid_utf8_is_valid(err->text));
    REID_ASSERT(status != REID_ERR_INTERNAL);
}

static void check_bytes(const uint8_t *data, size_t size)
{
    reid_document document = {0};
    reid_error err = {0};
    reid_status status = reid_document_parse((const char *)data, size, "input", &document, &err);
    check_error(status, &err);
    reid_document_fini(&document);
}

/* Its dump is read to the same values, and so is each key's text. */
static void check_round(const reid_config *config, const reid_config *defaults)
{
    reid_config *again = reid_config_clone(defaults), *single = reid_config_clone(defaults);
    reid_error err = {0};
    char *dump = reid_config_dump(config);
    REID_ASSERT(reid_config_load_text(again, dump, "dump", &err) == REID_OK);
    char *second = reid_config_dump(again);
    REID_ASSERT(strcmp(dump, second) == 0);
    REID_ASSERT(reid_config_hash(config) == reid_config_hash(again));
    for (size_t i = 0; i < reid_config_key_count(); i++) {
        char *text = reid_config_text(config, reid_config_key_name(i));
        REID_ASSERT(reid_config_set(single, reid_config_key_name(i), text, &err) == REID_OK);
        free(text);
    }
    REID_ASSERT(reid_config_hash(config) == reid_config_hash(single));
    free(second);
    free(dump);
    reid_config_free(single);
    reid_config_free(again);
}

static void check_values(const reid_config *config)
{
    reid_error err = {0};
    reid_status status = reid_config_check(config, &err);
    check_error(status, &err);
    free(reid_config_remarks(config));
    for (int world = 1; status == REID_OK && world <= 3; world++) {
        reid_error share = {0};
        check_error(reid_config_check_world(config, world, &share), &share);
    }
}

static bool merge_words(reid_config *config, char *text)
{
    REID_VEC(char *) words = {0};
    char *rest = NULL;
    for (char *word = strtok_r(text, "\n", &rest); word; word = strtok_r(NULL, "\n", &rest))
        reid_vec_push(&words, word);
    uint64_t before = reid_config_hash(config);
    reid_error err = {0};
    reid_status status = reid_config_merge_list(config, (int)words.count, words.items, &err);
    check_error(status, &err);
    REID_ASSERT(status == REID_OK || reid_config_hash(config) == before);
    reid_vec_fini(&words);
    return status == REID_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static reid_config *defaults;
    static uint64_t fresh;
    if (!defaults) {
        defaults = reid_config_new();
        fresh = reid_config_hash(defaults);
    }
    reid_config *config = reid_config_clone(defaults);
    char *text = reid_xstrndup((const char *)data, size);
    char *words = strstr(text, "%%\n");
    if (words) {
        *words = '\0';
        words += 3;
    }
    check_bytes(data, size);
    reid_error err = {0};
    reid_status status = reid_config_load_text(config, text, "input", &err);
    check_error(status, &err);
    REID_ASSERT(status == REID_OK || reid_config_hash(config) == fresh);
    bool set = status == REID_OK;
    if (words)
        set = merge_words(config, words) || set;
    if (set && reid_config_hash(config) != fresh) {
        static unsigned accepted;
        if (accepted++ % 4 == 0) /* it takes long */
            check_round(config, defaults);
        check_values(config);
    }
    free(text);
    reid_config_free(config);
    return 0;
}
