/* Images of a batch, from bytes to the network's input. */
#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"

void cuda_images(reid_backend *base, const reid_image_rule *rule, const reid_layout *layout,
                 const uint8_t *planes, const reid_image_choice *choices, void *images)
{
    cuda_backend *backend = (cuda_backend *)base;
    cuda_note(backend,
              reid_cuda_images(backend->stream, layout->dtype, rule, planes, choices, images,
                               (int)layout->shape.dim[0], (int)cuda_stride_of(layout)),
              "preparation of images");
}
