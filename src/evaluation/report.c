#include "evaluation/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "data/table.h"

reid_eval_report reid_eval_report_from_rank(const char *dataset, const reid_rank_result *result)
{
    const double percent = 100.0;
    return (reid_eval_report){
        .dataset = dataset,
        .values =
            {
                {"Rank-1", percent * result->cmc[0]},
                {"Rank-5", percent * result->cmc[4]},
                {"Rank-10", percent * result->cmc[9]},
                {"mAP", percent * result->map},
                {"mINP", percent * result->minp},
                {"metric", percent * (result->map + result->cmc[0]) / 2},
            },
    };
}

double reid_eval_report_value(const reid_eval_report *report, const char *name)
{
    for (size_t i = 0; i < REID_EVAL_VALUES; i++)
        if (strcmp(report->values[i].name, name) == 0)
            return report->values[i].value;
    return -1;
}

char *reid_eval_report_table(const reid_eval_report *reports, size_t count)
{
    enum { COLUMNS = REID_EVAL_VALUES + 1 };
    const char **cells = reid_xcalloc((count + 1) * COLUMNS, sizeof *cells);
    char(*numbers)[COLUMNS][32] = reid_xcalloc(count + 1, sizeof *numbers);
    cells[0] = "Dataset";
    for (size_t c = 1; c < COLUMNS; c++)
        cells[c] = count > 0 ? reports[0].values[c - 1].name : "";
    for (size_t i = 0; i < count; i++) {
        const char **row = cells + (i + 1) * COLUMNS;
        row[0] = reports[i].dataset;
        for (size_t c = 1; c < COLUMNS; c++) {
            snprintf(numbers[i][c], sizeof numbers[i][c], "%.2f", reports[i].values[c - 1].value);
            row[c] = numbers[i][c];
        }
    }
    char *table = reid_table_pipe(count + 1, COLUMNS, cells);
    free(numbers);
    free(cells);
    return table;
}
