#include "list.h"

#include <string.h>

reidctl_list reidctl_list_split(const char *text)
{
    reidctl_list list = {.text = reid_xstrdup(text != NULL ? text : "")};
    char *rest = NULL;
    for (char *part = strtok_r(list.text, ",", &rest); part != NULL;
         part = strtok_r(NULL, ",", &rest))
        reid_vec_push(&list.parts, part);
    return list;
}

void reidctl_list_fini(reidctl_list *list)
{
    reid_vec_fini(&list->parts);
    free(list->text);
    list->text = NULL;
}
