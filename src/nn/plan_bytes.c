#include "nn/plan_bytes.h"

#include "nn/plan_impl.h"

static const reid_plan_value *value_of(const reid_plan *plan, reid_value input)
{
    REID_ASSERT(input >= 0 && (size_t)input < plan->value_count &&
                plan->values[input].input == REID_INPUT_IMAGES);
    return &plan->values[input];
}

/* The planes' part of the space; the choices follow. */
static size_t planes_bytes(const reid_plan_value *value)
{
    return (reid_shape_count(&value->layout->shape) + 255) / 256 * 256;
}

static size_t choices_bytes(const reid_plan_value *value)
{
    return (size_t)value->layout->shape.dim[0] * sizeof(reid_image_choice);
}

size_t reid_plan_bytes_space(const reid_plan *plan, reid_value input)
{
    const reid_plan_value *value = value_of(plan, input);
    return planes_bytes(value) + choices_bytes(value);
}

reid_status reid_plan_upload_bytes(reid_plan *plan, reid_value input, const reid_image_rule *rule,
                                   const uint8_t *planes, const reid_image_choice *choices,
                                   void *space, reid_error *err)
{
    const reid_plan_value *value = value_of(plan, input);
    const int64_t *d = value->layout->shape.dim;
    if (plan->options.plan_only)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "this plan was made to be looked at; it has no memory to run in");
    if (d[1] != REID_IMAGE_CHANNELS || d[2] != rule->height || d[3] != rule->width)
        return reid_fail(err, REID_ERR_INVALID,
                         "the plan's images are not of %d channels, %d high and %d wide",
                         REID_IMAGE_CHANNELS, rule->height, rule->width);
    if (value->buffer == REID_BUFFER_NONE)
        return REID_OK; /* nothing reads it */
    uint8_t *device_planes = space;
    reid_image_choice *device_choices = (reid_image_choice *)(device_planes + planes_bytes(value));
    reid_backend_copy_in(plan->backend, device_planes, planes,
                         reid_shape_count(&value->layout->shape));
    reid_backend_copy_in(plan->backend, device_choices, choices, choices_bytes(value));
    reid_backend_images(plan->backend, rule, value->layout, device_planes, device_choices,
                        plan->arena + plan->buffers.items[value->buffer].offset);
    return REID_OK;
}
