/* Pipe tables as Python's tabulate(tablefmt="pipe", numalign="left") writes them: fast-reid's
 * reports use them. */
#ifndef REID_DATA_TABLE_H
#define REID_DATA_TABLE_H

#include <stddef.h>

/* `cells` holds rows × columns texts, row by row; the first row is the header. No newline at the
 * end; caller frees. */
char *reid_table_pipe(size_t rows, size_t columns, const char *const *cells);

#endif
