/* See passed.h. */
#include "engine/work/passed.h"

void passed_init(struct passed_list *list)
{
    *list = (struct passed_list){.end = &list->first};
    pthread_mutex_init(&list->lock, NULL);
}

void passed_free(struct passed_list *list)
{
    pthread_mutex_destroy(&list->lock);
}

void passed_put(struct passed_list *list, struct waitable *waitable)
{
    pthread_mutex_lock(&list->lock);
    waitable->next_passed = NULL;
    *list->end = waitable;
    list->end = &waitable->next_passed;
    atomic_fetch_add(&list->count, 1);
    pthread_mutex_unlock(&list->lock);
}

struct waitable *passed_take(struct passed_list *list)
{
    if (passed_empty(list)) {
        return NULL;
    }
    pthread_mutex_lock(&list->lock);
    struct waitable *waitable = list->first;

    if (waitable) {
        list->first = waitable->next_passed;
        list->end = list->first ? list->end : &list->first;
        atomic_fetch_sub(&list->count, 1);
    }
    pthread_mutex_unlock(&list->lock);
    return waitable;
}
