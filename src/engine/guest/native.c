/* Hooks from shared objects; the contract with them is reid_hook_abi.h. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "engine/guest/guest.h"
#include "engine/guest/reid_hook_abi.h"
#include "base/utf8.h"

#define MESSAGE_BYTES 512

/* What is in version 1 of the ABI. */
_Static_assert(sizeof(void *) != 8 || offsetof(reid_native_moment, lr) == 48, "moment");
_Static_assert(sizeof(void *) != 8 || offsetof(reid_native_host, get_scalar) == 8, "host");
_Static_assert(sizeof(void *) != 8 || offsetof(reid_native_host, log) == 72, "host");
_Static_assert(sizeof(void *) != 8 || offsetof(reid_native_hook, create) == 24, "hook");
_Static_assert(sizeof(void *) != 8 || offsetof(reid_native_hook, destroy) == 96, "hook");

typedef struct native_guest {
    reid_guest base;
    reid_native_host host;
    char *name;
    void *object; /* of dlopen */
    const reid_native_hook *hook;
    void *self;
    bool created;
    char *state; /* hexadecimal, after the newest call; NULL: none */
    /* Of this call; NULL: there is none. */
    const reid_moment *moment;
    reid_wishes *wishes;
    reid_error refused; /* the first wish that could not be noted */
} native_guest;

/* ---- what the host offers ---- */

/* NULL outside of a point. */
static native_guest *calling(const reid_native_host *host)
{
    native_guest *guest = (native_guest *)((char *)host - offsetof(native_guest, host));
    return guest->moment ? guest : NULL;
}

static bool find_scalar(const reid_native_host *host, const char *name,
                        reid_event_scalar *ret_scalar, int *ret_code)
{
    const native_guest *guest = calling(host);
    *ret_code = guest && name ? REID_NATIVE_OK : REID_NATIVE_ERROR;
    if (*ret_code == REID_NATIVE_OK &&
        !reid_event_storage_find(guest->moment->storage, name, ret_scalar))
        *ret_code = REID_NATIVE_NONE;
    return *ret_code == REID_NATIVE_OK;
}

static int host_get_scalar(const reid_native_host *host, const char *name, double *ret_value,
                           int64_t *ret_iter)
{
    reid_event_scalar scalar;
    int code;
    if (!find_scalar(host, name, &scalar, &code))
        return code;
    *ret_value = scalar.value;
    if (ret_iter)
        *ret_iter = scalar.iter;
    return code;
}

static int host_get_smoothed(const reid_native_host *host, const char *name, double *ret_value)
{
    reid_event_scalar scalar;
    int code;
    if (!find_scalar(host, name, &scalar, &code))
        return code;
    *ret_value = reid_event_scalar_smoothed(&scalar, REID_EVENT_WINDOW);
    return code;
}

static int noted(native_guest *guest, reid_status status)
{
    return status == REID_OK ? REID_NATIVE_OK : REID_NATIVE_ERROR;
}

static int wish(const reid_native_host *host, reid_wish_kind kind, const char *name,
                const char *value, double number)
{
    native_guest *guest = calling(host);
    if (!guest)
        return REID_NATIVE_ERROR;
    return noted(guest, reid_wishes_add(guest->wishes, kind, name, value, number, &guest->refused));
}

/* Names go into the journal and over the wire. */
static bool is_name(const char *name)
{
    return name && name[0] && strlen(name) <= REID_EVENT_NAME_BYTES_MAX && reid_utf8_is_valid(name);
}

static int host_put_scalar(const reid_native_host *host, const char *name, double value)
{
    native_guest *guest = calling(host);
    if (guest && !is_name(name))
        return noted(guest, reid_fail(&guest->refused, REID_ERR_INVALID,
                                      "put_scalar: a name has 1 to %d bytes of UTF-8",
                                      REID_EVENT_NAME_BYTES_MAX));
    return wish(host, REID_WISH_PUT_SCALAR, name, NULL, value);
}

static int host_set(const reid_native_host *host, const char *knob, double value)
{
    native_guest *guest = calling(host);
    if (guest && !is_name(knob))
        return noted(guest, reid_fail(&guest->refused, REID_ERR_INVALID, "set: no name of a knob"));
    if (guest && !isfinite(value))
        return noted(guest, reid_fail(&guest->refused, REID_ERR_INVALID, "%s cannot be set to %f",
                                      knob, value));
    char text[32];
    return wish(host, REID_WISH_SET, knob, reid_format_double(text, value), 0);
}

static int host_stop(const reid_native_host *host, const char *reason)
{
    native_guest *guest = calling(host);
    if (!guest)
        return REID_NATIVE_ERROR;
    if (reason && !(is_name(reason)))
        return noted(guest, reid_fail(&guest->refused, REID_ERR_INVALID,
                                      "stop: a reason has 1 to %d bytes of UTF-8",
                                      REID_EVENT_NAME_BYTES_MAX));
    return noted(guest, reid_wishes_add_stop(guest->wishes, reason, &guest->refused));
}

static int host_checkpoint(const reid_native_host *host)
{
    return wish(host, REID_WISH_CHECKPOINT, NULL, NULL, 0);
}

static int host_evaluate(const reid_native_host *host)
{
    return wish(host, REID_WISH_EVALUATE, NULL, NULL, 0);
}

static int host_skip_step(const reid_native_host *host)
{
    return wish(host, REID_WISH_SKIP_STEP, NULL, NULL, 0);
}

static void host_log(const reid_native_host *host, const char *text)
{
    const native_guest *guest =
        (const native_guest *)((const char *)host - offsetof(native_guest, host));
    reid_log_info("hook '%s': %.1000s", guest->name, text ? text : "");
}

static const reid_native_host HOST = {
    .abi_version = REID_NATIVE_ABI_VERSION,
    .size = sizeof(reid_native_host),
    .get_scalar = host_get_scalar,
    .get_smoothed = host_get_smoothed,
    .put_scalar = host_put_scalar,
    .set = host_set,
    .stop = host_stop,
    .checkpoint = host_checkpoint,
    .evaluate = host_evaluate,
    .skip_step = host_skip_step,
    .log = host_log,
};

/* ---- the file ---- */

/* Whoever can write there decides what runs in the training. */
static reid_status check_owner(const struct stat *status, const char *path, reid_error *err)
{
    if (status->st_mode & (S_IWGRP | S_IWOTH))
        return reid_fail(err, REID_ERR_PERMISSION,
                         "'%s' can be written by others than its owner; native hooks are not taken "
                         "from there (chmod go-w)",
                         path);
    if (status->st_uid != 0 && status->st_uid != geteuid())
        return reid_fail(err, REID_ERR_PERMISSION,
                         "'%s' belongs to neither root nor the user of the training; native hooks "
                         "are not taken from there",
                         path);
    return REID_OK;
}

static reid_status check_file(const char *folder, const char *path, reid_error *err)
{
    struct stat status;
    if (stat(folder, &status) != 0)
        return reid_fail_errno(err, errno, "cannot read the folder of native hooks '%s'", folder);
    REID_TRY(check_owner(&status, folder, err));
    if (lstat(path, &status) != 0)
        return reid_fail_errno(err, errno, "there is no native hook '%s'", path);
    if (!S_ISREG(status.st_mode))
        return reid_fail(err, REID_ERR_PERMISSION, "'%s' is not a regular file", path);
    return check_owner(&status, path, err);
}

static reid_status find_file(const char *folder, const char *file, char **ret_path, reid_error *err)
{
    if (!folder)
        return reid_fail(err, REID_ERR_PERMISSION,
                         "native hooks are not allowed here: the administrator has to name their "
                         "folder with reidd --hook-dir");
    if (file[0] == '\0' || file[0] == '.' || strchr(file, '/'))
        return reid_fail(err, REID_ERR_INVALID,
                         "'%s' is not the name of a file in the folder of native hooks", file);
    char *path = reid_path_join(folder, file);
    char *absolute = reid_path_absolute(path); /* without a '/', dlopen would search elsewhere */
    free(path);
    reid_status status = check_file(folder, absolute, err);
    if (status == REID_OK)
        *ret_path = absolute;
    else
        free(absolute);
    return status;
}

/* ---- the table ---- */

static reid_native_point *point_of(const reid_native_hook *hook, reid_point point)
{
    reid_native_point *const points[REID_POINTS] = {
        [REID_BEFORE_TRAIN] = hook->before_train, [REID_AFTER_TRAIN] = hook->after_train,
        [REID_BEFORE_EPOCH] = hook->before_epoch, [REID_AFTER_EPOCH] = hook->after_epoch,
        [REID_BEFORE_STEP] = hook->before_step,   [REID_AFTER_STEP] = hook->after_step,
    };
    return points[point];
}

static reid_status check_table(const reid_native_hook *hook, const char *file, reid_error *err)
{
    if (hook->magic != REID_NATIVE_MAGIC)
        return reid_fail(err, REID_ERR_INVALID, "'%s' is not a native hook: %s has no such mark",
                         file, REID_NATIVE_SYMBOL);
    if (hook->abi_version != REID_NATIVE_ABI_VERSION)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "the native hook '%s' was built for version %u of the hook ABI, this "
                         "training has version %d",
                         file, (unsigned)hook->abi_version, REID_NATIVE_ABI_VERSION);
    if (hook->size < sizeof *hook)
        return reid_fail(err, REID_ERR_INVALID,
                         "the table of the native hook '%s' has %u bytes, version %d has %zu", file,
                         (unsigned)hook->size, REID_NATIVE_ABI_VERSION, sizeof *hook);
    if (!hook->create || !hook->name)
        return reid_fail(err, REID_ERR_INVALID, "the table of the native hook '%s' lacks %s", file,
                         hook->create ? "a name" : "create");
    if (!hook->save_state != !hook->load_state)
        return reid_fail(err, REID_ERR_INVALID,
                         "the native hook '%s' has one of save_state and load_state without the "
                         "other",
                         file);
    return REID_OK;
}

static reid_status choose_points(const reid_native_hook *hook, const char *file, unsigned *points,
                                 reid_error *err)
{
    unsigned has = 0;
    for (int point = 0; point < REID_POINTS; point++) {
        if (point_of(hook, (reid_point)point))
            has |= 1u << point;
        else if (*points & (1u << point))
            return reid_fail(err, REID_ERR_INVALID, "the native hook '%s' has no %s", file,
                             reid_point_name((reid_point)point));
    }
    if (has == 0)
        return reid_fail(err, REID_ERR_INVALID, "the native hook '%s' has none of the six points",
                         file);
    if (*points == 0)
        *points = has;
    return REID_OK;
}

static reid_status load_object(native_guest *guest, const char *path, const char *file,
                               reid_error *err)
{
    guest->object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!guest->object)
        return reid_fail(err, REID_ERR_INVALID, "cannot load the native hook '%s': %s", file,
                         dlerror());
    guest->hook = dlsym(guest->object, REID_NATIVE_SYMBOL);
    if (!guest->hook)
        return reid_fail(err, REID_ERR_INVALID,
                         "'%s' is not a native hook: it does not export %s (reid_hook_abi.h)", file,
                         REID_NATIVE_SYMBOL);
    return check_table(guest->hook, file, err);
}

/* ---- errors ---- */

/* A sentence from outside: printable, and never empty. */
static reid_status failed(const native_guest *guest, const char *what, char *message,
                          reid_error *err)
{
    message[MESSAGE_BYTES - 1] = '\0';
    for (char *c = message; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
    }
    if (message[0] == '\0')
        return reid_fail(err, REID_ERR_INVALID, "%s failed and does not say why", what);
    if (!reid_utf8_is_valid(message))
        return reid_fail(err, REID_ERR_INVALID, "%s failed with a message that is no UTF-8", what);
    return reid_fail(err, REID_ERR_INVALID, "%s", message);
}

/* ---- open and close ---- */

static void native_close(reid_guest *base)
{
    native_guest *guest = (native_guest *)base;
    if (!guest)
        return;
    if (guest->created && guest->hook->destroy)
        guest->hook->destroy(guest->self);
    if (guest->object)
        dlclose(guest->object);
    free(guest->name);
    free(guest->state);
    free(guest);
}

static reid_status split_options(const reid_guest_spec *spec, reid_native_option *options,
                                 char **texts, reid_error *err)
{
    for (size_t i = 0; i < spec->options.count; i++) {
        texts[i] = reid_xstrdup(spec->options.items[i]);
        char *equals = strchr(texts[i], '=');
        if (!equals || equals == texts[i])
            return reid_fail(err, REID_ERR_INVALID, "the option '%s' is not name=value", texts[i]);
        *equals = '\0';
        options[i] = (reid_native_option){.name = texts[i], .value = equals + 1};
    }
    return REID_OK;
}

static reid_status create(native_guest *guest, const reid_guest_spec *spec, reid_error *err)
{
    size_t count = spec->options.count;
    reid_native_option *options = reid_xcalloc(count + 1, sizeof *options);
    char **texts = reid_xcalloc(count + 1, sizeof *texts);
    char message[MESSAGE_BYTES] = "";
    reid_status status = split_options(spec, options, texts, err);
    if (status == REID_OK && guest->hook->create(&guest->host, count, options, &guest->self,
                                                 message, sizeof message) != REID_NATIVE_OK)
        status = failed(guest, "create", message, err);
    guest->created = status == REID_OK;
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
    free(options);
    return status;
}

static reid_status note_state(native_guest *guest, reid_error *err);

static reid_status native_open(const reid_guest_env *env, reid_guest_spec *spec, int64_t id,
                               reid_guest **ret_guest, reid_error *err)
{
    char *path = NULL;
    REID_TRY(find_file(env->native_dir, spec->source, &path, err));
    native_guest *guest = reid_xcalloc(1, sizeof *guest);
    guest->base.kind = &reid_guest_native;
    guest->host = HOST;
    guest->name = reid_xstrdup(spec->name);
    unsigned points = spec->points;
    reid_status status = load_object(guest, path, spec->source, err);
    if (status == REID_OK)
        status = choose_points(guest->hook, spec->source, &points, err);
    if (status == REID_OK)
        status = create(guest, spec, err);
    if (status == REID_OK)
        status = note_state(guest, err);
    free(path);
    if (status != REID_OK) {
        native_close(&guest->base);
        return status;
    }
    spec->points = points;
    *ret_guest = &guest->base;
    return REID_OK;
}

/* ---- state ---- */

static reid_status note_state(native_guest *guest, reid_error *err)
{
    if (!guest->hook->save_state)
        return REID_OK;
    const void *data = NULL;
    size_t size = 0;
    char message[MESSAGE_BYTES] = "";
    if (guest->hook->save_state(guest->self, &data, &size, message, sizeof message) !=
        REID_NATIVE_OK)
        return failed(guest, "save_state", message, err);
    if (size > REID_NATIVE_STATE_BYTES || (size > 0 && !data))
        return reid_fail(err, REID_ERR_INVALID,
                         "save_state gave %zu bytes%s; a hook may keep up to %d", size,
                         data ? "" : " at NULL", REID_NATIVE_STATE_BYTES);
    static const char DIGITS[] = "0123456789abcdef";
    guest->state = reid_xrealloc(guest->state, 2 * size + 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = ((const unsigned char *)data)[i];
        guest->state[2 * i] = DIGITS[byte >> 4];
        guest->state[2 * i + 1] = DIGITS[byte & 15];
    }
    guest->state[2 * size] = '\0';
    return REID_OK;
}

static void native_save_state(const reid_guest *base, reid_json_writer *json)
{
    const native_guest *guest = (const native_guest *)base;
    reid_json_object(json);
    reid_json_key(json, "name");
    reid_json_string(json, guest->hook->name);
    reid_json_key(json, "bytes");
    reid_json_string(json, guest->state);
    reid_json_end_object(json);
}

static int digit_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static reid_status native_load_state(reid_guest *base, const reid_json *state, reid_error *err)
{
    native_guest *guest = (native_guest *)base;
    const char *name = reid_json_as_string(reid_json_get(state, "name"), NULL);
    const reid_json *bytes = reid_json_get(state, "bytes");
    const char *text = reid_json_as_string(bytes, NULL);
    if (!name || !bytes || strcmp(name, guest->hook->name) != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "the saved state is of the native hook '%s', this one is '%s'",
                         name ? name : "?", guest->hook->name);
    if (!text != !guest->hook->load_state)
        return reid_fail(err, REID_ERR_INVALID, "the native hook '%s' %s", name,
                         text ? "was saved with a state, but has none now"
                              : "was saved without a state, but has one now");
    if (!text)
        return REID_OK;
    size_t length = strlen(text), size = length / 2;
    if (length % 2 != 0 || strspn(text, "0123456789abcdef") != length ||
        size > REID_NATIVE_STATE_BYTES)
        return reid_fail(err, REID_ERR_CORRUPT,
                         "the saved state of the native hook '%s' is damaged", name);
    unsigned char *data = reid_xmalloc(size + 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(digit_value(text[2 * i]) * 16 + digit_value(text[2 * i + 1]));
    char message[MESSAGE_BYTES] = "";
    int code = guest->hook->load_state(guest->self, data, size, message, sizeof message);
    free(data);
    return code == REID_NATIVE_OK ? note_state(guest, err)
                                  : failed(guest, "load_state", message, err);
}

/* ---- call ---- */

static reid_status native_call(reid_guest *base, const reid_moment *moment, reid_wishes *wishes,
                               reid_error *err)
{
    native_guest *guest = (native_guest *)base;
    reid_native_point *point = point_of(guest->hook, moment->point);
    REID_ASSERT(point);
    const reid_native_moment seen = {
        .size = sizeof seen,
        .iter = moment->iter,
        .max_iter = moment->max_iter,
        .epoch = moment->epoch,
        .max_epoch = moment->max_epoch,
        .iters_per_epoch = moment->iters_per_epoch,
        .lr = moment->lr,
    };
    char message[MESSAGE_BYTES] = "";
    guest->moment = moment;
    guest->wishes = wishes;
    reid_error_clear(&guest->refused);
    int code = point(guest->self, &seen, message, sizeof message);
    guest->moment = NULL;
    guest->wishes = NULL;
    reid_error why = {0};
    reid_status kept = note_state(guest, &why); /* the hook may go on after an error */
    if (guest->refused.code != REID_OK)
        return reid_fail(err, guest->refused.code, "%s", guest->refused.text);
    if (code != REID_NATIVE_OK)
        return failed(guest, reid_point_name(moment->point), message, err);
    return kept == REID_OK ? REID_OK : reid_fail(err, why.code, "%s", why.text);
}

const reid_guest_kind reid_guest_native = {
    .name = "native",
    .open = native_open,
    .call = native_call,
    .save_state = native_save_state,
    .load_state = native_load_state,
    .close = native_close,
};
