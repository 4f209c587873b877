#include "data/transform.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "data/kernels.h"

#define MAX_SIDE REID_PIXEL_MAX_WIDTH
#define MAX_PAD 1024
#define MAX_LINE (MAX_SIDE + 2 * MAX_PAD)

/* torchvision.transforms.RandomErasing's defaults, which fast-reid uses. */
#define ERASE_TRIES 10
#define ERASE_AREA_LOW 0.02
#define ERASE_AREA_HIGH 0.33
#define ERASE_RATIO_LOW 0.3
#define ERASE_RATIO_HIGH 3.3

static reid_status check_switches(const reid_config *config, reid_error *err)
{
    static const char *const switches[] = {"INPUT.CROP.ENABLED",   "INPUT.CJ.ENABLED",
                                           "INPUT.AFFINE.ENABLED", "INPUT.AUTOAUG.ENABLED",
                                           "INPUT.AUGMIX.ENABLED", "INPUT.RPT.ENABLED"};
    for (size_t i = 0; i < REID_COUNT_OF(switches); i++)
        if (reid_config_bool(config, switches[i]))
            return reid_fail(err, REID_ERR_UNSUPPORTED, "%s True is not supported yet",
                             switches[i]);
    return REID_OK;
}

static reid_status read_size(const reid_config *config, const char *key, reid_transform *transform,
                             reid_error *err)
{
    if (reid_config_count(config, key) != 2)
        return reid_fail(err, REID_ERR_UNSUPPORTED, "%s must be [height, width]", key);
    int64_t height = reid_config_int_at(config, key, 0), width = reid_config_int_at(config, key, 1);
    if (height < 1 || width < 1 || height > MAX_SIDE || width > MAX_SIDE)
        return reid_fail(err, REID_ERR_INVALID,
                         "%s is [%lld, %lld]; each side must be between 1 and %d", key,
                         (long long)height, (long long)width, MAX_SIDE);
    transform->height = (int)height;
    transform->width = (int)width;
    return REID_OK;
}

static reid_status read_colour(const reid_config *config, const char *key, float colour[3],
                               reid_error *err)
{
    if (reid_config_count(config, key) != 3)
        return reid_fail(err, REID_ERR_INVALID, "%s must have three values (red, green, blue)",
                         key);
    for (size_t c = 0; c < 3; c++)
        colour[c] = (float)reid_config_float_at(config, key, c);
    return REID_OK;
}

static reid_status read_padding(const reid_config *config, reid_transform *transform,
                                reid_error *err)
{
    static const char *const modes[] = {"constant", "edge", "reflect", "symmetric"};
    if (!reid_config_bool(config, "INPUT.PADDING.ENABLED"))
        return REID_OK;
    int64_t pad = reid_config_int(config, "INPUT.PADDING.SIZE");
    if (pad < 0 || pad > MAX_PAD)
        return reid_fail(err, REID_ERR_INVALID,
                         "INPUT.PADDING.SIZE is %lld; it must be between 0 and %d", (long long)pad,
                         MAX_PAD);
    const char *name = reid_config_string(config, "INPUT.PADDING.MODE");
    size_t mode = 0;
    while (mode < REID_COUNT_OF(modes) && strcmp(modes[mode], name) != 0)
        mode++;
    if (mode == REID_COUNT_OF(modes))
        return reid_fail(
            err, REID_ERR_INVALID,
            "INPUT.PADDING.MODE is '%s'; it must be constant, edge, reflect or symmetric", name);
    transform->pad_mode = (reid_pad_mode)mode;
    transform->pad = (int)pad;
    int limit =
        REID_MIN(transform->height, transform->width) - (transform->pad_mode == REID_PAD_REFLECT);
    if (mode >= REID_PAD_REFLECT && transform->pad > limit)
        return reid_fail(err, REID_ERR_INVALID,
                         "INPUT.PADDING.SIZE %d is too large for %s padding of this image size",
                         transform->pad, name);
    return REID_OK;
}

static reid_status read_probability(const reid_config *config, const char *key, double *ret,
                                    reid_error *err)
{
    double value = reid_config_float(config, key);
    if (!(value >= 0.0 && value <= 1.0))
        return reid_fail(err, REID_ERR_INVALID, "%s is %g; a probability lies between 0 and 1", key,
                         value);
    *ret = value;
    return REID_OK;
}

static reid_status read_training(const reid_config *config, reid_transform *transform,
                                 reid_error *err)
{
    REID_TRY(read_padding(config, transform, err));
    transform->flips = reid_config_bool(config, "INPUT.FLIP.ENABLED");
    if (transform->flips)
        REID_TRY(read_probability(config, "INPUT.FLIP.PROB", &transform->flip_probability, err));
    transform->erases = reid_config_bool(config, "INPUT.REA.ENABLED");
    if (transform->erases) {
        REID_TRY(read_probability(config, "INPUT.REA.PROB", &transform->erase_probability, err));
        REID_TRY(read_colour(config, "INPUT.REA.VALUE", transform->erase_value, err));
    }
    return REID_OK;
}

reid_status reid_transform_init(reid_transform *transform, const reid_config *config, bool training,
                                reid_error *err)
{
    reid_transform fresh = {0};
    REID_TRY(check_switches(config, err));
    REID_TRY(read_size(config, training ? "INPUT.SIZE_TRAIN" : "INPUT.SIZE_TEST", &fresh, err));
    REID_TRY(read_colour(config, "MODEL.PIXEL_MEAN", fresh.mean, err));
    REID_TRY(read_colour(config, "MODEL.PIXEL_STD", fresh.std, err));
    for (size_t c = 0; c < 3; c++)
        if (!(fresh.std[c] > 0))
            return reid_fail(err, REID_ERR_INVALID, "MODEL.PIXEL_STD must be above zero");
    if (training)
        REID_TRY(read_training(config, &fresh, err));
    *transform = fresh;
    return REID_OK;
}

static void draw_erasing(const reid_transform *transform, reid_rng *rng,
                         reid_transform_choice *choice)
{
    double area = (double)transform->height * transform->width;
    for (int i = 0; i < ERASE_TRIES; i++) {
        double wanted = area * reid_rng_range(rng, ERASE_AREA_LOW, ERASE_AREA_HIGH);
        double ratio = exp(reid_rng_range(rng, log(ERASE_RATIO_LOW), log(ERASE_RATIO_HIGH)));
        int height = (int)nearbyint(sqrt(wanted * ratio)); /* to even, as Python's round */
        int width = (int)nearbyint(sqrt(wanted / ratio));
        if (height >= transform->height || width >= transform->width)
            continue;
        choice->erase_height = height;
        choice->erase_width = width;
        choice->erase_y = (int)reid_rng_below(rng, (uint32_t)(transform->height - height + 1));
        choice->erase_x = (int)reid_rng_below(rng, (uint32_t)(transform->width - width + 1));
        return;
    }
}

reid_transform_choice reid_transform_identity(const reid_transform *transform)
{
    return (reid_transform_choice){.crop_y = transform->pad, .crop_x = transform->pad};
}

reid_transform_choice reid_transform_draw(const reid_transform *transform, reid_rng *rng)
{
    reid_transform_choice choice = reid_transform_identity(transform);
    if (transform->pad > 0) {
        uint32_t offsets = 2 * (uint32_t)transform->pad + 1;
        choice.crop_y = (int)reid_rng_below(rng, offsets);
        choice.crop_x = (int)reid_rng_below(rng, offsets);
    }
    if (transform->flip_probability > 0)
        choice.flip = reid_rng_uniform(rng) < transform->flip_probability;
    if (transform->erase_probability > 0 && reid_rng_uniform(rng) < transform->erase_probability)
        draw_erasing(transform, rng, &choice);
    return choice;
}

/* Position in [0, size) whose pixel stands at `at` of the padded line; -1 for a black one. */
static int padded_position(int at, int size, reid_pad_mode mode)
{
    if (at >= 0 && at < size)
        return at;
    switch (mode) {
    case REID_PAD_EDGE:
        return at < 0 ? 0 : size - 1;
    case REID_PAD_REFLECT: /* without the border pixel itself */
        return at < 0 ? -at : 2 * size - 2 - at;
    case REID_PAD_SYMMETRIC:
        return at < 0 ? -1 - at : 2 * size - 1 - at;
    default:
        return -1;
    }
}

/* One row of the padded image, from column -pad to width + pad. */
static void pad_row(const reid_transform *transform, const uint8_t *row, uint8_t *line)
{
    int width = transform->width, pad = transform->pad;
    memcpy(line + pad, row, (size_t)width);
    for (int i = 0; i < pad; i++) {
        int left = padded_position(i - pad, width, transform->pad_mode);
        int right = padded_position(width + i, width, transform->pad_mode);
        line[i] = left < 0 ? 0 : row[left];
        line[pad + width + i] = right < 0 ? 0 : row[right];
    }
}

/* Where the output shows pixels of the image along one axis: `count` of them from `first` on, the
 * first at `at`. The others are black. */
typedef struct window {
    int at, first, count;
} window;

static window window_of(int size, int shift)
{
    int at = REID_MIN(REID_MAX(-shift, 0), size), first = REID_MIN(REID_MAX(shift, 0), size);
    return (window){at, first, REID_MAX(size - at - first, 0)};
}

static void apply_plane(const reid_transform *transform, const reid_transform_choice *choice,
                        const uint8_t *plane, reid_pixel_row row, float *to)
{
    const reid_pixel_kernels *kernels = reid_pixel_kernels_choose();
    int width = transform->width, height = transform->height, pad = transform->pad;
    bool padded = transform->pad_mode != REID_PAD_CONSTANT && choice->crop_x != pad;
    window across = window_of(width, padded ? 0 : choice->crop_x - pad);
    uint8_t line[MAX_LINE];
    row.width = (size_t)width;
    row.flip = choice->flip;
    row.erase_first = (size_t)choice->erase_x;
    for (int y = 0; y < height; y++, to += width) {
        int from = padded_position(y + choice->crop_y - pad, height, transform->pad_mode);
        int count = from < 0 ? 0 : across.count;
        row.count = (size_t)count;
        row.before = (size_t)(choice->flip ? width - across.at - count : across.at);
        row.from = plane + (size_t)REID_MAX(from, 0) * row.width + across.first;
        if (padded) {
            pad_row(transform, row.from, line);
            row.from = line + choice->crop_x;
        }
        bool erased = y >= choice->erase_y && y - choice->erase_y < choice->erase_height;
        row.erase_count = erased ? (size_t)choice->erase_width : 0;
        kernels->put_row(&row, to);
    }
    kernels->finish();
}

void reid_transform_apply(const reid_transform *transform, const reid_transform_choice *choice,
                          const uint8_t *planes, float *ret_image)
{
    size_t plane = (size_t)transform->width * (size_t)transform->height;
    for (size_t c = 0; c < 3; c++) {
        float mean = transform->mean[c], inverse_std = 1.0f / transform->std[c];
        reid_pixel_row row = {.mean = mean,
                              .inverse_std = inverse_std,
                              .black = (0.0f - mean) * inverse_std,
                              .erased = (transform->erase_value[c] - mean) * inverse_std};
        apply_plane(transform, choice, planes + c * plane, row, ret_image + c * plane);
    }
}
