/* A checkpoint's folder. The first byte of the input chooses: 'm' the rest is manifest.json; 's'
 * the same, to which the checksum is put; 'l' the rest is last_checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/last.h"
#include "checkpoint/manifest.h"
#include "folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char CONTENT[] = "iteration 10";

static struct {
    char *output_dir, *dir;
} place;

static void set_up(void)
{
    if (place.output_dir)
        return;
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .program = "fuzz", .rank = -1});
    place.output_dir = fuzz_folder_new();
    place.dir = reid_path_join(place.output_dir, "model_0009");
    free(reid_test_write(place.output_dir, "model_0009/state.json", CONTENT, strlen(CONTENT)));
}

/* What was accepted is written and read back the same. */
static void check_round(const reid_manifest *manifest)
{
    reid_str text = REID_STR_INIT, second = REID_STR_INIT;
    reid_manifest again = {0};
    reid_error err = {0};
    reid_manifest_render(manifest, &text);
    REID_ASSERT(reid_manifest_parse("input", text.data, text.length, &again, &err) == REID_OK);
    reid_manifest_render(&again, &second);
    REID_ASSERT(strcmp(text.data, second.data) == 0);
    reid_manifest_fini(&again);
    reid_str_fini(&text);
    reid_str_fini(&second);
}

/* Opened, whatever it names; what it has is readable. */
static void open_folder(void)
{
    reid_checkpoint *checkpoint = NULL;
    reid_error err = {0};
    reid_status status = reid_checkpoint_open(place.dir, true, &checkpoint, &err);
    REID_ASSERT(status == err.code);
    if (status == REID_OK && reid_checkpoint_has(checkpoint, "state.json")) {
        char *text;
        size_t size;
        REID_ASSERT(reid_checkpoint_text(checkpoint, "state.json", &text, &size, &err) == REID_OK);
        REID_ASSERT(size == strlen(CONTENT));
        free(text);
        const reid_safetensors *tensors;
        REID_ASSERT(reid_checkpoint_tensors(checkpoint, "state.json", &tensors, &err) != REID_OK);
    }
    reid_checkpoint_free(checkpoint);
}

static void run_manifest(const uint8_t *data, size_t size, bool sealed)
{
    reid_str text = REID_STR_INIT;
    reid_manifest manifest = {0};
    reid_error err = {0};
    reid_str_add_bytes(&text, data, size);
    if (sealed && size > 0 && data[size - 1] == '}')
        reid_manifest_seal(&text);
    free(reid_test_write(place.dir, REID_MANIFEST_FILE, reid_str_text(&text), text.length));
    reid_status status = reid_manifest_read(place.dir, &manifest, &err);
    REID_ASSERT(status == err.code);
    if (status == REID_OK)
        check_round(&manifest);
    reid_manifest_fini(&manifest);
    open_folder();
    reid_str_fini(&text);
}

static void run_last(const uint8_t *data, size_t size)
{
    reid_error err = {0};
    char *name = NULL;
    reid_checkpoint *checkpoint = NULL;
    free(reid_test_write(place.output_dir, "last_checkpoint", data, size));
    if (reid_checkpoint_last_read(place.output_dir, &name, &err) == REID_OK)
        REID_ASSERT(reid_manifest_is_file_name(name));
    free(name);
    if (reid_checkpoint_latest(place.output_dir, &checkpoint, NULL) == REID_OK)
        reid_checkpoint_free(checkpoint);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    if (size == 0)
        return 0;
    if (data[0] == 'l')
        run_last(data + 1, size - 1);
    else
        run_manifest(data + 1, size - 1, data[0] == 's');
    return 0;
}
