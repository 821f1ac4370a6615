/* Media types by file extension: the registered names (IANA) for what web sites hold. Text types carry their
 * charset; JSON has none by its own standard. The table is sorted, which the unit test checks. */
#include <stdlib.h>
#include <string.h>

#include "http/wire/mime.h"

struct mime_row {
    const char *extension;
    struct str type;
};

#define ROW(extension, type)                                                                                 \
    {                                                                                                        \
        extension,                                                                                           \
        {                                                                                                    \
            type, sizeof(type) - 1                                                                           \
        }                                                                                                    \
    }

/* clang-format off */
static const struct mime_row rows[] = {
    ROW("3gp", "video/3gpp"),
    ROW("7z", "application/x-7z-compressed"),
    ROW("aac", "audio/aac"),
    ROW("ai", "application/postscript"),
    ROW("apk", "application/vnd.android.package-archive"),
    ROW("apng", "image/apng"),
    ROW("asc", "text/plain; charset=utf-8"),
    ROW("atom", "application/atom+xml; charset=utf-8"),
    ROW("avi", "video/x-msvideo"),
    ROW("avif", "image/avif"),
    ROW("bmp", "image/bmp"),
    ROW("bz2", "application/x-bzip2"),
    ROW("cjs", "text/javascript; charset=utf-8"),
    ROW("conf", "text/plain; charset=utf-8"),
    ROW("crt", "application/x-x509-ca-cert"),
    ROW("css", "text/css; charset=utf-8"),
    ROW("csv", "text/csv; charset=utf-8"),
    ROW("cur", "image/vnd.microsoft.icon"),
    ROW("deb", "application/vnd.debian.binary-package"),
    ROW("der", "application/x-x509-ca-cert"),
    ROW("diff", "text/plain; charset=utf-8"),
    ROW("doc", "application/msword"),
    ROW("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ROW("eot", "application/vnd.ms-fontobject"),
    ROW("eps", "application/postscript"),
    ROW("epub", "application/epub+zip"),
    ROW("flac", "audio/flac"),
    ROW("flv", "video/x-flv"),
    ROW("geojson", "application/geo+json"),
    ROW("gif", "image/gif"),
    ROW("glb", "model/gltf-binary"),
    ROW("gltf", "model/gltf+json"),
    ROW("gpx", "application/gpx+xml"),
    ROW("gz", "application/gzip"),
    ROW("heic", "image/heic"),
    ROW("heif", "image/heif"),
    ROW("htc", "text/x-component; charset=utf-8"),
    ROW("htm", "text/html; charset=utf-8"),
    ROW("html", "text/html; charset=utf-8"),
    ROW("ico", "image/vnd.microsoft.icon"),
    ROW("ics", "text/calendar; charset=utf-8"),
    ROW("ifb", "text/calendar; charset=utf-8"),
    ROW("ini", "text/plain; charset=utf-8"),
    ROW("iso", "application/x-iso9660-image"),
    ROW("jar", "application/java-archive"),
    ROW("jfif", "image/jpeg"),
    ROW("jp2", "image/jp2"),
    ROW("jpe", "image/jpeg"),
    ROW("jpeg", "image/jpeg"),
    ROW("jpg", "image/jpeg"),
    ROW("js", "text/javascript; charset=utf-8"),
    ROW("json", "application/json"),
    ROW("json5", "application/json5"),
    ROW("jsonld", "application/ld+json"),
    ROW("jxl", "image/jxl"),
    ROW("kml", "application/vnd.google-earth.kml+xml"),
    ROW("kmz", "application/vnd.google-earth.kmz"),
    ROW("log", "text/plain; charset=utf-8"),
    ROW("m3u8", "application/vnd.apple.mpegurl"),
    ROW("m4a", "audio/mp4"),
    ROW("m4v", "video/mp4"),
    ROW("map", "application/json"),
    ROW("markdown", "text/markdown; charset=utf-8"),
    ROW("md", "text/markdown; charset=utf-8"),
    ROW("mid", "audio/midi"),
    ROW("midi", "audio/midi"),
    ROW("mjs", "text/javascript; charset=utf-8"),
    ROW("mkv", "video/x-matroska"),
    ROW("mml", "text/mathml; charset=utf-8"),
    ROW("mov", "video/quicktime"),
    ROW("mp3", "audio/mpeg"),
    ROW("mp4", "video/mp4"),
    ROW("mpd", "application/dash+xml"),
    ROW("mpeg", "video/mpeg"),
    ROW("mpg", "video/mpeg"),
    ROW("odg", "application/vnd.oasis.opendocument.graphics"),
    ROW("odp", "application/vnd.oasis.opendocument.presentation"),
    ROW("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ROW("odt", "application/vnd.oasis.opendocument.text"),
    ROW("oga", "audio/ogg"),
    ROW("ogg", "audio/ogg"),
    ROW("ogv", "video/ogg"),
    ROW("opus", "audio/ogg"),
    ROW("otf", "font/otf"),
    ROW("patch", "text/plain; charset=utf-8"),
    ROW("pdf", "application/pdf"),
    ROW("pem", "application/x-x509-ca-cert"),
    ROW("png", "image/png"),
    ROW("ppt", "application/vnd.ms-powerpoint"),
    ROW("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ROW("ps", "application/postscript"),
    ROW("psd", "image/vnd.adobe.photoshop"),
    ROW("rar", "application/vnd.rar"),
    ROW("rdf", "application/rdf+xml; charset=utf-8"),
    ROW("rng", "application/xml; charset=utf-8"),
    ROW("rpm", "application/x-rpm"),
    ROW("rss", "application/rss+xml; charset=utf-8"),
    ROW("rtf", "application/rtf"),
    ROW("shtml", "text/html; charset=utf-8"),
    ROW("sig", "application/pgp-signature"),
    ROW("sql", "application/sql"),
    ROW("sqlite", "application/x-sqlite3"),
    ROW("srt", "application/x-subrip; charset=utf-8"),
    ROW("svg", "image/svg+xml; charset=utf-8"),
    ROW("svgz", "image/svg+xml; charset=utf-8"),
    ROW("tar", "application/x-tar"),
    ROW("text", "text/plain; charset=utf-8"),
    ROW("tgz", "application/gzip"),
    ROW("tif", "image/tiff"),
    ROW("tiff", "image/tiff"),
    ROW("toml", "application/toml"),
    ROW("ts", "video/mp2t"),
    ROW("tsv", "text/tab-separated-values; charset=utf-8"),
    ROW("ttc", "font/collection"),
    ROW("ttf", "font/ttf"),
    ROW("txt", "text/plain; charset=utf-8"),
    ROW("vcard", "text/vcard; charset=utf-8"),
    ROW("vcf", "text/vcard; charset=utf-8"),
    ROW("vtt", "text/vtt; charset=utf-8"),
    ROW("war", "application/java-archive"),
    ROW("wasm", "application/wasm"),
    ROW("wav", "audio/wav"),
    ROW("weba", "audio/webm"),
    ROW("webm", "video/webm"),
    ROW("webmanifest", "application/manifest+json"),
    ROW("webp", "image/webp"),
    ROW("wmv", "video/x-ms-wmv"),
    ROW("woff", "font/woff"),
    ROW("woff2", "font/woff2"),
    ROW("xhtml", "application/xhtml+xml; charset=utf-8"),
    ROW("xls", "application/vnd.ms-excel"),
    ROW("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ROW("xml", "application/xml; charset=utf-8"),
    ROW("xsd", "application/xml; charset=utf-8"),
    ROW("xsl", "application/xml; charset=utf-8"),
    ROW("xslt", "application/xslt+xml; charset=utf-8"),
    ROW("xz", "application/x-xz"),
    ROW("yaml", "application/yaml"),
    ROW("yml", "application/yaml"),
    ROW("zip", "application/zip"),
    ROW("zst", "application/zstd"),
};
/* clang-format on */

static int compare(const void *key, const void *row)
{
    return strcmp(key, ((const struct mime_row *)row)->extension);
}

struct str mime_of(struct str path)
{
    char extension[16];
    const char *dot = memrchr(path.p, '.', path.n), *slash = memrchr(path.p, '/', path.n);
    size_t n = dot != NULL && (slash == NULL || dot > slash) ? path.n - (size_t)(dot + 1 - path.p) : 0;
    if (n == 0 || n >= sizeof(extension)) {
        return STR("application/octet-stream");
    }
    for (size_t i = 0; i < n; i++) {
        char c = dot[1 + i];
        extension[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    extension[n] = '\0';
    const struct mime_row *row =
        bsearch(extension, rows, sizeof(rows) / sizeof(rows[0]), sizeof(rows[0]), compare);
    return row != NULL ? row->type : STR("application/octet-stream");
}
