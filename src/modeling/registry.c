/* The tables of network parts. A new part is one row. */
#include <string.h>

#include "base/compiler.h"
#include "base/str.h"
#include "modeling/builder.h"

static const reid_meta_arch_impl *const meta_archs[] = {
    &reid_meta_arch_baseline,
};

static const reid_backbone_impl *const backbones[] = {
    &reid_backbone_resnet,
};

static const reid_head_impl *const heads[] = {
    &reid_head_embedding,
};

static const reid_loss_impl *const losses[] = {
    &reid_loss_cross_entropy,
    &reid_loss_triplet,
};

/* Every impl begins with its name. */
static const void *find(const void *const *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(*(const char *const *)table[i], name) == 0)
            return table[i];
    return NULL;
}

static reid_status unsupported(const void *const *table, size_t count, const char *key,
                               const char *name, reid_error *err)
{
    reid_str known = REID_STR_INIT;
    for (size_t i = 0; i < count; i++)
        reid_str_addf(&known, "%s%s", i ? ", " : "", *(const char *const *)table[i]);
    reid_fail(err, REID_ERR_UNSUPPORTED, "%s '%s' is not supported; there is %s", key, name,
              reid_str_text(&known));
    reid_str_fini(&known);
    return REID_ERR_UNSUPPORTED;
}

static reid_status find_by_key(const void *const *table, size_t count, const reid_config *config,
                               const char *key, const void **ret_impl, reid_error *err)
{
    const char *name = reid_config_string(config, key);
    const void *impl = find(table, count, name);
    if (!impl)
        return unsupported(table, count, key, name, err);
    *ret_impl = impl;
    return REID_OK;
}

#define TABLE(table) (const void *const *)(table), REID_COUNT_OF(table)

reid_status reid_meta_arch_find(const reid_config *config, const reid_meta_arch_impl **ret_impl,
                                reid_error *err)
{
    return find_by_key(TABLE(meta_archs), config, "MODEL.META_ARCHITECTURE",
                       (const void **)ret_impl, err);
}

reid_status reid_backbone_find(const reid_config *config, const reid_backbone_impl **ret_impl,
                               reid_error *err)
{
    return find_by_key(TABLE(backbones), config, "MODEL.BACKBONE.NAME", (const void **)ret_impl,
                       err);
}

reid_status reid_head_find(const reid_config *config, const reid_head_impl **ret_impl,
                           reid_error *err)
{
    return find_by_key(TABLE(heads), config, "MODEL.HEADS.NAME", (const void **)ret_impl, err);
}

static bool is_listed(const reid_config *config, const char *name)
{
    for (size_t i = 0; i < reid_config_count(config, "MODEL.LOSSES.NAME"); i++)
        if (strcmp(reid_config_string_at(config, "MODEL.LOSSES.NAME", i), name) == 0)
            return true;
    return false;
}

reid_status reid_losses_build(reid_builder *b, const reid_head_output *head, reid_value labels,
                              reid_error *err)
{
    const char *key = "MODEL.LOSSES.NAME";
    if (reid_config_count(b->config, key) == 0)
        return reid_fail(err, REID_ERR_INVALID, "%s is empty: there is nothing to train for", key);
    for (size_t i = 0; i < reid_config_count(b->config, key); i++) {
        const char *name = reid_config_string_at(b->config, key, i);
        if (!find(TABLE(losses), name))
            return unsupported(TABLE(losses), key, name, err);
    }
    for (size_t i = 0; i < REID_COUNT_OF(losses); i++)
        if (is_listed(b->config, losses[i]->name))
            losses[i]->build(b, head, labels, losses[i]->reported);
    return REID_OK;
}
