/* Memory.
 *
 * reid_x* serve small allocations of a size the program fixes; running out ends the process with a
 * message. reid_alloc* serve any size that comes from a file, a peer or a configuration: they
 * return NULL on failure or overflow, and the caller turns that into a status.
 */
#ifndef REID_BASE_ALLOC_H
#define REID_BASE_ALLOC_H

#include <stddef.h>

void *reid_xmalloc(size_t size);
void *reid_xcalloc(size_t count, size_t size);
void *reid_xrealloc(void *memory, size_t size);
char *reid_xstrdup(const char *text);
char *reid_xstrndup(const char *text, size_t length);
char *reid_xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

void *reid_alloc(size_t count, size_t size); /* zeroed */
void *reid_alloc_grow(void *memory, size_t count,
                      size_t size); /* realloc; old block kept on failure */

/* Zeroed, 64-byte aligned (2 MiB aligned and advised to huge pages from 4 MiB on). NULL on failure.
 * Free with reid_free_aligned and the same size. */
void *reid_alloc_aligned(size_t size_bytes);
void reid_free_aligned(void *memory, size_t size_bytes);

/* For `__attribute__((cleanup(...)))` use. */
void reid_free_ptr(void *address_of_pointer);
#define REID_AUTOFREE __attribute__((cleanup(reid_free_ptr)))

#endif
