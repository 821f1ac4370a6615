/* What scripts write to php://stderr and php://stdout goes to the log by one pipe for all workers, which
 * mixes what is long. Where the supervisor reads that pipe, the streams write frames (base/frame.h); they are
 * PHP's own in all other respects, and can be passed to programs. */
#include "engine/php/std_streams.h"

#include <string.h>
#include <unistd.h>

#include "engine/php/thread.h"

#include "ext/standard/php_fopen_wrappers.h"

#include "engine/base/frame.h"
#include "engine/base/log.h"

static php_stream_ops stdout_ops, stderr_ops; /* constant once there are threads */
static php_stream_wrapper_ops opener;
static php_stream_wrapper wrapper;

static ssize_t write_frames(int fd, const char *p, size_t n)
{
    frame_write(fd, p, n);
    return (ssize_t)n;
}

static ssize_t write_stdout(php_stream *stream, const char *p, size_t n)
{
    (void)stream;
    return write_frames(STDOUT_FILENO, p, n);
}

static ssize_t write_stderr(php_stream *stream, const char *p, size_t n)
{
    (void)stream;
    return write_frames(STDERR_FILENO, p, n);
}

static bool is(const char *path, const char *name)
{
    static const char scheme[] = "php://";

    if (strncasecmp(path, scheme, sizeof scheme - 1) == 0) {
        path += sizeof scheme - 1;
    }
    return strcasecmp(path, name) == 0;
}

static php_stream *open_stream(php_stream_wrapper *of, const char *path, const char *mode, int options,
                               zend_string **opened_path, php_stream_context *context STREAMS_DC)
{
    php_stream *stream = php_stream_php_wrapper.wops->stream_opener(of, path, mode, options, opened_path,
                                                                    context STREAMS_REL_CC);

    if (stream && stream->ops == &php_stream_stdio_ops && php_thread && log_workers_are_read()) {
        if (is(path, "stderr")) {
            stream->ops = &stderr_ops;
        } else if (is(path, "stdout")) {
            stream->ops = &stdout_ops;
        }
    }
    return stream;
}

void std_streams_start(void)
{
    HashTable *wrappers = php_stream_get_url_stream_wrappers_hash_global();

    if (zend_hash_str_find_ptr(wrappers, ZEND_STRL("php")) != &php_stream_php_wrapper) {
        return; /* somebody else has one */
    }
    stdout_ops = stderr_ops = php_stream_stdio_ops;
    stdout_ops.write = write_stdout;
    stderr_ops.write = write_stderr;
    opener = *php_stream_php_wrapper.wops;
    opener.stream_opener = open_stream;
    wrapper = php_stream_php_wrapper;
    wrapper.wops = &opener;
    zend_hash_str_update_ptr(wrappers, ZEND_STRL("php"), &wrapper);
}
