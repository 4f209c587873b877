/* Native hooks for test_guest_native.c: a good one that shows what the host offers, and bad ones.
 * MODULE_<NAME> chooses; see CMakeLists.txt. */
#include "engine/guest/reid_hook_abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct module {
    const reid_native_host *host;
    char mode[32]; /* option: what the points do */
    char state[8];
    size_t state_size;
} module;

static int say(char *message, size_t message_bytes, const char *text)
{
    snprintf(message, message_bytes, "%s", text);
    return REID_NATIVE_ERROR;
}

static int create(const reid_native_host *host, size_t option_count,
                  const reid_native_option *options, void **ret_self, char *message,
                  size_t message_bytes)
{
    double value;
    if (host->abi_version != REID_NATIVE_ABI_VERSION || host->size != sizeof *host ||
        message_bytes < 256 || message[0] != '\0')
        return say(message, message_bytes, "a host of another kind");
    /* There is no training yet. */
    if (host->get_scalar(host, "loss", &value, NULL) != REID_NATIVE_ERROR ||
        host->stop(host, NULL) != REID_NATIVE_ERROR || host->set(host, "lr", 1) == REID_NATIVE_OK)
        return say(message, message_bytes, "asked outside of a point, the host did not mind");
    module *self = calloc(1, sizeof *self);
    self->host = host;
    for (size_t i = 0; i < option_count; i++) {
        if (strcmp(options[i].name, "mode") != 0) {
            free(self);
            return say(message, message_bytes, "the only option is mode");
        }
        snprintf(self->mode, sizeof self->mode, "%s", options[i].value);
    }
    host->log(host, self->mode);
    *ret_self = self;
    return REID_NATIVE_OK;
}

static void destroy(void *self)
{
    free(self);
}

static int look(module *self, char *message, size_t message_bytes)
{
    const reid_native_host *host = self->host;
    double newest, smoothed;
    int64_t iter;
    if (host->get_scalar(host, "nothing", &newest, &iter) != REID_NATIVE_NONE ||
        host->get_smoothed(host, "nothing", &newest) != REID_NATIVE_NONE ||
        host->get_scalar(host, NULL, &newest, NULL) != REID_NATIVE_ERROR)
        return say(message, message_bytes, "there should be nothing");
    if (host->get_scalar(host, "loss", &newest, &iter) != REID_NATIVE_OK ||
        host->get_smoothed(host, "loss", &smoothed) != REID_NATIVE_OK)
        return say(message, message_bytes, "there should be a loss");
    host->put_scalar(host, "newest", newest);
    host->put_scalar(host, "smoothed", smoothed);
    return host->put_scalar(host, "iter", (double)iter);
}

static int after_step(void *user, const reid_native_moment *moment, char *message,
                      size_t message_bytes)
{
    module *self = user;
    const reid_native_host *host = self->host;
    snprintf(self->state, sizeof self->state, "%lld", (long long)moment->iter);
    self->state_size = strlen(self->state);
    if (strcmp(self->mode, "look") == 0)
        return look(self, message, message_bytes);
    if (strcmp(self->mode, "wish") == 0) {
        host->set(host, "lr", moment->lr / 10);
        host->checkpoint(host);
        host->evaluate(host);
        host->skip_step(host);
        return host->stop(host, "enough") || host->stop(host, NULL);
    }
    if (strcmp(self->mode, "fail") == 0)
        return say(message, message_bytes, "no more\nof this");
    if (strcmp(self->mode, "mute") == 0)
        return 77;
    if (strcmp(self->mode, "bytes") == 0)
        return say(message, message_bytes, "\xff\xfe");
    if (strcmp(self->mode, "flood") == 0) {
        for (int i = 0; i < 100; i++)
            host->checkpoint(host); /* its answer is not looked at */
    }
    if (strcmp(self->mode, "nan") == 0)
        host->set(host, "lr", 0.0 / 0.0);
    if (strcmp(self->mode, "noname") == 0)
        host->put_scalar(host, "", 1);
    if (strcmp(self->mode, "big") == 0)
        self->state_size = REID_NATIVE_STATE_BYTES + 1;
    return REID_NATIVE_OK;
}

static int before_train(void *user, const reid_native_moment *moment, char *message,
                        size_t message_bytes)
{
    const module *self = user;
    char text[200];
    snprintf(text, sizeof text, "moment%u:%lld:%lld:%lld:%lld:%lld:%g", moment->size,
             (long long)moment->iter, (long long)moment->max_iter, (long long)moment->epoch,
             (long long)moment->max_epoch, (long long)moment->iters_per_epoch, moment->lr);
    return self->host->put_scalar(self->host, text, 1);
}

static int save_state(void *user, const void **ret_data, size_t *ret_size, char *message,
                      size_t message_bytes)
{
    const module *self = user;
    *ret_data = self->state;
    *ret_size = self->state_size;
    return REID_NATIVE_OK;
}

static int load_state(void *user, const void *data, size_t size, char *message,
                      size_t message_bytes)
{
    module *self = user;
    if (size > sizeof self->state)
        return say(message, message_bytes, "too much to load");
    memcpy(self->state, data, size);
    self->state_size = size;
    return REID_NATIVE_OK;
}

#ifdef MODULE_SYMBOL
#define TABLE reid_native_hook_of_another_name
#else
#define TABLE reid_native_hook_table
#endif

REID_NATIVE_EXPORT const reid_native_hook TABLE;
const reid_native_hook TABLE = {
#ifdef MODULE_MAGIC
    .magic = 1,
#else
    .magic = REID_NATIVE_MAGIC,
#endif
#ifdef MODULE_VERSION
    .abi_version = 9,
#else
    .abi_version = REID_NATIVE_ABI_VERSION,
#endif
#ifdef MODULE_SIZE
    .size = offsetof(reid_native_hook, save_state),
#else
    .size = sizeof(reid_native_hook),
#endif
    .name = "module",
#ifndef MODULE_CREATE
    .create = create,
#endif
#ifndef MODULE_POINTS
    .before_train = before_train,
    .after_step = after_step,
#endif
    .save_state = save_state,
#ifndef MODULE_STATE
    .load_state = load_state,
#endif
    .destroy = destroy,
};
