/* Who an engine process is: user, group, supplementary groups, root directory, limits, environment. Resolved
 * on the supervisor's thread (names need the system's databases, which a chroot hides), applied in the engine
 * process before anything of the user's runs. */
#ifndef ENGINE_SUPERVISE_IDENTITY_H
#define ENGINE_SUPERVISE_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/engine_settings.h"

struct identity {
    uid_t uid;             /* 0: stay who we are */
    gid_t gid;             /* 0: stay */
    char *initgroups_name; /* user name for the supplementary groups; NULL = none but gid */
    char *user, *home;     /* for USER and HOME; NULL where env[] sets them or nothing is known */
    gid_t *groups;         /* supplementary groups, resolved */
    int group_count;
};

/* Resolves and checks in php-fpm's wording; 0 or -1 (reported). starting: not only a configuration test. */
int identity_resolve(const struct pool_conf *pool, bool allow_root, bool starting, struct identity *out);
void identity_free(struct identity *id);

/* Engine process. What of the environment is addressed to the supervisor is gone. */
void identity_forget_supervisor(void);
/* Engine process, while its memory still says so: notes which variables of the server env[] of other pools
 * takes, and this pool's does not. */
void identity_note_foreign(const struct pool_conf *pool, const struct pool_conf *all);
/* They are gone, also from memory: before code of the pool's user runs. php.ini may name them until then. */
void identity_hide_foreign(void);
/* Engine process. 0 or -1 (reported). */
void identity_limits(const struct pool_conf *pool);
/* standin: runs no script, so it can do without its working directory. */
int identity_become(const struct pool_conf *pool, const struct identity *id, bool standin);
void identity_environment(const struct pool_conf *pool, const struct identity *id);
/* Engine process, while PHP is loaded: adds the pool's env[] to the supervisor's environment, for extensions
 * that the pool's own settings name. The caller gives `environ` what this returns when that is done. */
char **identity_lend_environment(const struct pool_conf *pool);

/* Supervisor: the limits and the priority of [global]. 0 or -1 (reported). */
int identity_master(const struct global_settings *global);

#endif
