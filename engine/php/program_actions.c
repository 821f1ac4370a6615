/* What posix_spawn() is to do with descriptors. glibc's own list cannot be read, and ours is wanted: see
 * program.c. The list belongs to who called init, and to no thread in particular. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/php/program.h"

_Static_assert(sizeof(struct program_actions) <= sizeof(posix_spawn_file_actions_t), "no room");

void program_actions_init(posix_spawn_file_actions_t *of)
{
    memset(of, 0, sizeof *of);
}

void program_actions_destroy(posix_spawn_file_actions_t *of)
{
    struct program_actions *actions = (struct program_actions *)(void *)of;

    for (size_t i = 0; i < actions->count; i++) {
        free(actions->list[i].path);
    }
    free(actions->list);
    memset(of, 0, sizeof *of);
}

static int grow(struct program_actions *actions)
{
    size_t size = actions->size ? actions->size * 2 : 8;
    struct program_action *list = realloc(actions->list, size * sizeof *list);

    if (!list) {
        return ENOMEM;
    }
    actions->list = list;
    actions->size = size;
    return 0;
}

int program_actions_add(posix_spawn_file_actions_t *of, const struct program_action *action)
{
    struct program_actions *actions = (struct program_actions *)(void *)of;
    char *path = action->path ? strdup(action->path) : NULL;

    if (action->fd < 0 || action->target < 0) {
        free(path);
        return EBADF;
    }
    if ((action->path && !path) || (actions->count == actions->size && grow(actions) != 0)) {
        free(path);
        return ENOMEM;
    }
    struct program_action *added = &actions->list[actions->count++];

    *added = *action;
    added->path = path;
    return 0;
}
