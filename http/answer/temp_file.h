/* Temporary files without a name, in TMPDIR or /tmp: request bodies and answers that are too large for
 * memory. */
#ifndef HTTP_ANSWER_TEMP_FILE_H
#define HTTP_ANSWER_TEMP_FILE_H

/* Close-on-exec; what: for the log. -1 (reported) with errno. Any thread. */
int temp_file_open(const char *what);

#endif
