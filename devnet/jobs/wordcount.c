/* Counts words: reads every file under /data, writes /outputs/counts.csv, prints a summary.
 *
 * Built to wordcount.wasm, which is kept beside this file, with Debian 12's
 * clang, lld, wasi-libc and libclang-rt-dev-wasm32:
 *
 *   clang --target=wasm32-wasi -O2 -Wall -Wextra -Wl,-s -o wordcount.wasm wordcount.c
 *
 * A word is a run of ASCII letters and digits, and of bytes above 127, taken in lower case.
 * counts.csv is sorted by count, then by word, so every peer makes the same bytes.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SIZE 4096
#define WORD_SIZE 64
#define SHOWN 5

struct word {
    struct word *next;
    unsigned long count;
    char text[];
};

static struct word *table[1 << 14];
static unsigned long words, distinct, files, bytes;

static void fail(const char *what, const char *path) {
    fprintf(stderr, "wordcount: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void count_word(const char *text) {
    unsigned long hash = 5381;
    for (const char *c = text; *c; c++) hash = hash * 33 + (unsigned char)*c;
    struct word **slot = &table[hash % (sizeof table / sizeof *table)];
    words++;
    for (struct word *w = *slot; w; w = w->next)
        if (!strcmp(w->text, text)) {
            w->count++;
            return;
        }
    struct word *w = malloc(sizeof *w + strlen(text) + 1);
    if (!w) fail("no memory for", text);
    strcpy(w->text, text);
    w->count = 1;
    w->next = *slot;
    *slot = w;
    distinct++;
}

static void count_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail("cannot open", path);
    char text[WORD_SIZE];
    size_t length = 0;
    for (int c; (c = getc(file)) != EOF; bytes++) {
        if (c > 127 || isalnum(c)) {
            if (length < sizeof text - 1) text[length++] = (char)tolower(c);
        } else if (length) {
            text[length] = 0;
            count_word(text);
            length = 0;
        }
    }
    if (length) {
        text[length] = 0;
        count_word(text);
    }
    if (ferror(file)) fail("cannot read", path);
    fclose(file);
    files++;
}

static void count_tree(const char *path) {
    DIR *directory = opendir(path);
    if (!directory) {
        if (errno == ENOTDIR) {
            count_file(path);
            return;
        }
        fail("cannot open", path);
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        char below[PATH_SIZE];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        count_tree(below);
    }
    closedir(directory);
}

static int by_count(const void *a, const void *b) {
    const struct word *x = *(struct word *const *)a, *y = *(struct word *const *)b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return strcmp(x->text, y->text);
}

int main(int argc, char **argv) {
    const char *from = argc > 1 ? argv[1] : "/data";
    const char *to = argc > 2 ? argv[2] : "/outputs/counts.csv";
    count_tree(from);

    struct word **sorted = malloc((distinct + 1) * sizeof *sorted);
    if (!sorted) fail("no memory for", "the sorted table");
    unsigned long n = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (struct word *w = table[i]; w; w = w->next) sorted[n++] = w;
    qsort(sorted, n, sizeof *sorted, by_count);

    FILE *csv = fopen(to, "w");
    if (!csv) fail("cannot create", to);
    fprintf(csv, "word,count\n");
    for (unsigned long i = 0; i < n; i++) fprintf(csv, "%s,%lu\n", sorted[i]->text, sorted[i]->count);
    if (fclose(csv)) fail("cannot write", to);

    printf("%lu words, %lu distinct, in %lu files (%lu bytes)\n", words, distinct, files, bytes);
    for (unsigned long i = 0; i < n && i < SHOWN; i++) printf("%6lu %s\n", sorted[i]->count, sorted[i]->text);
    return 0;
}
