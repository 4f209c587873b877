/* u8 images to the network's input: augmented, normalised, channels last, in one pass. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define BLOCK 256

/* Block: BLOCK pixels of every image from blockIdx.y on, a thread each. Neighbours read
 * neighbouring bytes of the planes. */
template <class T>
__global__ void reid_images_kernel(reid_image_rule rule, const uint8_t *planes,
                                   const reid_image_choice *choices, T *out, int count, int stride)
{
    size_t pixels = (size_t)rule.height * rule.width;
    size_t pixel = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (pixel >= pixels)
        return;
    for (int n = blockIdx.y; n < count; n += gridDim.y) {
        const uint8_t *image = planes + (size_t)n * REID_IMAGE_CHANNELS * pixels;
        reid_image_choice choice = choices[n];
        reid_image_source source =
            reid_image_find(&rule, &choice, (int)(pixel / rule.width), (int)(pixel % rule.width));
        T *to = out + (n * pixels + pixel) * stride;
        for (int c = 0; c < REID_IMAGE_CHANNELS; c++)
            to[c] = reid_from_float<T>(reid_image_element(&rule, source, image + c * pixels, c));
        for (int c = REID_IMAGE_CHANNELS; c < stride; c++)
            to[c] = reid_from_float<T>(0.0f);
    }
}

template <class T>
static cudaError_t images(cudaStream_t stream, const reid_image_rule *rule, const uint8_t *planes,
                          const reid_image_choice *choices, void *out, int count, int stride)
{
    size_t pixels = (size_t)rule->height * (size_t)rule->width;
    dim3 grid((unsigned)((pixels + BLOCK - 1) / BLOCK),
              (unsigned)(count > REID_FLAT_GRID ? REID_FLAT_GRID : count));
    return REID_LAUNCH(reid_images_kernel<T>, grid, BLOCK, 0, stream, *rule, planes, choices,
                       static_cast<T *>(out), count, stride);
}

extern "C" cudaError_t reid_cuda_images(cudaStream_t stream, reid_dtype dtype,
                                        const reid_image_rule *rule, const uint8_t *planes,
                                        const reid_image_choice *choices, void *out, int count,
                                        int stride)
{
    return REID_BY_DTYPE(dtype, images, stream, rule, planes, choices, out, count, stride);
}
