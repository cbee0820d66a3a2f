/* SPDX-License-Identifier: BSD-2-Clause */
/* The grammar of postern.conf: what is read, what each fault says and on which line,
 * includes, limits, time on hostile input. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/xalloc.h"
#include "tests/lib/errors.h"

/* --- helpers --- */

static void
dump(const struct conf_node *n, struct buf *out)
{
	for (; n != NULL; n = n->next) {
		buf_addf(out, "%d:", n->name.line);
		buf_add_str(out, n->name.text);
		for (size_t i = 0; i < n->n_values; i++) {
			buf_addf(out, n->values[i].quoted ? " '" : " ");
			if (n->values[i].line != n->name.line)
				buf_addf(out, "%d:", n->values[i].line);
			buf_add_str(out, n->values[i].text);
			buf_add_cstr(out, n->values[i].quoted ? "'" : "");
		}
		if (n->block) {
			buf_add_char(out, '{');
			dump(n->children, out);
			buf_add_char(out, '}');
		}
		buf_add_char(out, ';');
	}
}

/* --- grammar --- */

static const struct {
	const char *in, *tree;
} good[] = {
	{ "", "" },
	{ "# only a comment", "" },
	{ "\xef\xbb\xbf"
	  "a 1;",
	    "1:a 1;" },
	{ "a;", "1:a;" },
	{ "a 1;b 2 3;", "1:a 1;1:b 2 3;" },
	{ "a\n 1\n\n2;", "1:a 2:1 4:2;" },
	{ "a 1; # x; y {\nb 2;", "1:a 1;2:b 2;" },
	{ "a 1;\r\nb 2;\r\n", "1:a 1;2:b 2;" },
	{ "s{}", "1:s{};" },
	{ "s \"x y\" { a 1; b 2 }", "1:s 'x y'{1:a 1;1:b 2;};" },
	{ "s {\n\ta 1\n}\nb;", "1:s{2:a 1;};4:b;" },
	{ "s { t { u 1 } v }", "1:s{1:t{1:u 1;};1:v;};" },
	{ "s { };;;b;", "1:s{};1:b;" },
	{ "a \"\\\"x\\\\y\\\"\";", "1:a '\"x\\y\"';" },
	{ "a \"\" \"#;{}\";", "1:a '' '#;{}';" },
	{ "a b#c\n;", "1:a b;" },
	{ "a \\x 10.0.0.0/8 [::1]:53 unix:/x;",
	    "1:a \\x 10.0.0.0/8 [::1]:53 unix:/x;" },
	{ "a \"\xc3\xa4 \t|\";", "1:a '\xc3\xa4 \t|';" },
	{ "a{b{c{d{e{f{g{h{i 1;}}}}}}}}",
	    "1:a{1:b{1:c{1:d{1:e{1:f{1:g{1:h{1:i 1;};};};};};};};};" },
};

START_TEST(grammar_good)
{
	struct errs errs = { 0 };
	struct buf b;
	struct conf_tree *tree = conf_parse_text(str_of(good[_i].in), "t", &errs);

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(tree);
	buf_init(&b, 1 << 16);
	dump(conf_root(tree), &b);
	ck_assert_str_eq(buf_cstr(&b), good[_i].tree);
	buf_clear(&b);
	conf_free(tree);
}
END_TEST

static const struct {
	const char *in;
	size_t len; /* 0: up to the NUL */
	const char *errors;
} bad[] = {
	{ "a", 0,
	    "t:1: statement has no end: expected \";\" before the end of the file" },
	{ "\n\na 1\n", 0,
	    "t:3: statement has no end: expected \";\" before the end of the file" },
	{ "}", 0, "t:1: \"}\" closes nothing: expected a statement" },
	{ "a 1;\n}\n}\nb;", 0,
	    "t:2: \"}\" closes nothing: expected a statement\n"
	    "t:3: \"}\" closes nothing: expected a statement" },
	{ "a { b;\n", 0,
	    "t:2: end of file inside the block that line 1 opened: expected \"}\"" },
	{ "a { b { c\n", 0,
	    "t:1: statement has no end: expected \";\" before the end of the file\n"
	    "t:2: end of file inside the block that line 1 opened: expected \"}\"\n"
	    "t:2: end of file inside the block that line 1 opened: expected \"}\"" },
	{ "{ a 1; }", 0, "t:1: \"{\" without a name: expected a statement" },
	{ "\"a\" 1;", 0,
	    "t:1: \"a\" begins a statement: expected a name without quotes" },
	{ "a \"x\nb 1;", 0,
	    "t:1: string has no end: expected \" before the end of the line" },
	{ "a \"x\\", 0,
	    "t:1: string has no end: expected \" before the end of the line\n"
	    "t:1: statement has no end: expected \";\" before the end of the file" },
	{ "a \"\\n\\x\";", 0,
	    "t:1: \\n is not an escape in a string: expected \\\" or \\\\\n"
	    "t:1: \\x is not an escape in a string: expected \\\" or \\\\" },
	{ "a b\"c\";", 0,
	    "t:1: quote in the middle of a word: expected a blank between words" },
	{ "a \"b\"c;", 0,
	    "t:1: quote in the middle of a word: expected a blank between words" },
	{ "a \"b\"\"c\";", 0,
	    "t:1: quote in the middle of a word: expected a blank between words" },
	{ "a \x01\x02;\nb\x7f;\nc \"\x1b\";", 0,
	    "t:1: octet 0x01 is not text: expected printable characters\n"
	    "t:2: octet 0x7f is not text: expected printable characters\n"
	    "t:3: octet 0x1b is not text: expected printable characters" },
	{ "a;\nb \0;\n", 8, "t:2: octet NUL in the file: expected text" },
	{ "a{b{c{d{e{f{g{h{i{j;}}}}}}}}}", 0, "t:1: blocks nested over 8 deep" },
	{ "include;", 0, "t:1: include: expected one or more file names and \";\"" },
	{ "include \"x\" { }", 0,
	    "t:1: include: expected one or more file names and \";\"" },
	{ "include \"\";", 0, "t:1: include: expected a file name" },
};

START_TEST(grammar_bad)
{
	struct errs errs = { 0 };
	struct str in = { bad[_i].in,
		bad[_i].len > 0 ? bad[_i].len : strlen(bad[_i].in) };
	struct conf_tree *tree = conf_parse_text(in, "t", &errs);

	ck_assert_ptr_null(tree);
	check_errors(&errs, bad[_i].errors);
}
END_TEST

START_TEST(malformed_keeps_the_rest)
{
	struct errs errs = { 0 };
	struct buf b;
	struct conf_tree *tree =
	    conf_parse_text_all(STR("a 1;\n}\nb { c 2 }\n\"d\" 3;\ne 4"), "t", &errs);

	buf_init(&b, 1000);
	dump(conf_root(tree), &b);
	ck_assert_str_eq(buf_cstr(&b), "1:a 1;3:b{3:c 2;};5:e 4;");
	ck_assert_uint_eq(errs.n, 3);
	buf_clear(&b);
	conf_free(tree);
	errs_clear(&errs);
}
END_TEST

/* --- includes --- */

static char dir[64];

static void
dir_make(void)
{
	snprintf(dir, sizeof(dir), "%.30s/conf.XXXXXX",
	    getenv("TMPDIR") == NULL || strlen(getenv("TMPDIR")) > 30
		? "/tmp"
		: getenv("TMPDIR"));
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static char *
path_of(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static void
put(const char *name, const char *text, size_t len)
{
	char *path = path_of(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
	free(path);
}

static void
put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static void
make_folder(const char *name)
{
	char *path = path_of(name);

	ck_assert_int_eq(mkdir(path, 0700), 0);
	free(path);
}

static void
dir_remove(void)
{
	char *command = xasprintf("rm -rf '%s'", dir);

	ck_assert_int_eq(system(command), 0);
	free(command);
}

/* Parse main in the folder; the tree's text or the errors. */
static void
expect_file(const char *tree_text, const char *error_text)
{
	struct errs errs = { 0 };
	struct buf b;
	char *path = path_of("main");
	struct conf_tree *tree = conf_parse_file(path, &errs);

	buf_init(&b, 1 << 16);
	if (tree != NULL)
		dump(conf_root(tree), &b);
	check_errors(&errs, error_text);
	ck_assert_str_eq(buf_cstr(&b), tree_text);
	conf_free(tree);
	buf_clear(&b);
	free(path);
}

START_TEST(include_order)
{
	make_folder("conf.d");
	put_text(
	    "main", "a 1;\ninclude \"conf.d/*.conf\";\nb 2;\ns { include one two; }\n");
	put_text("conf.d/20.conf", "d 20;");
	put_text("conf.d/10.conf", "\nd 10;");
	put_text("conf.d/note", "not read");
	put_text("one", "x 1;");
	put_text("two", "x 2;");
	expect_file("1:a 1;2:d 10;1:d 20;3:b 2;4:s{1:x 1;1:x 2;};", "");
}
END_TEST

START_TEST(include_relative_to_the_including_file)
{
	make_folder("sub");
	put_text("main", "include sub/a;");
	put_text("sub/a", "include b;");
	put_text("sub/b", "b 1;");
	expect_file("1:b 1;", "");
}
END_TEST

START_TEST(include_folder_with_pattern_characters)
{
	char *old = xstrdup(dir), *odd = xasprintf("%s/[x]*\\", dir), *path;
	struct errs errs = { 0 };

	ck_assert_int_eq(mkdir(odd, 0700), 0);
	path = xasprintf("%s/main", odd);
	put_text("[x]*\\/main", "include \"*.conf\";");
	put_text("[x]*\\/a.conf", "a 1;");
	put_text("x.conf", "x 1;");
	struct conf_tree *tree = conf_parse_file(path, &errs);
	check_errors(&errs, "");
	ck_assert(str_is(conf_root(tree)->name.text, "a"));
	ck_assert_ptr_null(conf_root(tree)->next);
	conf_free(tree);
	free(path);
	free(odd);
	free(old);
}
END_TEST

START_TEST(include_nothing_matches)
{
	put_text("main", "include \"conf.d/*.conf\"; a 1;");
	expect_file("1:a 1;", "");
}
END_TEST

START_TEST(include_unreadable_folder)
{
	char *loop = path_of("conf.d");

	ck_assert_int_eq(symlink("conf.d", loop), 0);
	put_text("main", "a 1;\ninclude \"conf.d/*.conf\";");
	expect_file("", "main:2: include: \"conf.d/*.conf\" cannot be listed");
	free(loop);
}
END_TEST

START_TEST(include_errors)
{
	char *expected = xasprintf(
	    "main:1: include: \"%s/none\" cannot be opened: No such file or directory\n"
	    "a:2: \"}\" closes nothing: expected a statement\n"
	    "main:3: include: \"%s/folder\" is not a regular file",
	    dir, dir);

	make_folder("folder");
	put_text("main", "include none;\ninclude a;\ninclude folder;\n");
	put_text("a", "\n}");
	expect_file("", expected);
	free(expected);
}
END_TEST

START_TEST(include_loop)
{
	char *expected = xasprintf("b:1: include: \"%s/main\" includes itself", dir);

	put_text("main", "include b;");
	put_text("b", "include main;");
	expect_file("", expected);
	free(expected);
}
END_TEST

START_TEST(include_loop_by_another_name)
{
	char *from = path_of("main"), *to = path_of("other");
	char *expected =
	    xasprintf("main:1: include: \"%s/other\" includes itself", dir);

	put_text("main", "include other;");
	ck_assert_int_eq(symlink(from, to), 0);
	expect_file("", expected);
	free(expected);
	free(from);
	free(to);
}
END_TEST

/* Two branches over one file are no loop. */
START_TEST(include_twice)
{
	put_text("main", "s { include a; } t { include a; }");
	put_text("a", "x 1;");
	expect_file("1:s{1:x 1;};1:t{1:x 1;};", "");
}
END_TEST

START_TEST(include_depth)
{
	char name[32], text[64];

	put_text("main", "include f1;");
	for (int i = 1; i <= CONF_DEPTH_MAX + 1; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		snprintf(text, sizeof(text), "include f%d;", i + 1);
		put_text(name, i == CONF_DEPTH_MAX + 1 ? "x 1;" : text);
	}
	expect_file("", "f8:1: includes nested over 8 deep");
	put_text("f8", "x 1;");
	expect_file("1:x 1;", "");
}
END_TEST

START_TEST(include_count)
{
	char name[32];
	struct errs errs = { 0 };
	char *path = path_of("main");

	put_text("main", "include \"f*\";");
	for (int i = 0; i < CONF_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "f%03d", i);
		put_text(name, "");
	}
	ck_assert_ptr_null(conf_parse_file(path, &errs));
	check_errors(
	    &errs, "main:1: configuration is too large: expected at most 200 files");
	free(path);
}
END_TEST

START_TEST(include_in_text)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(conf_parse_text(STR("include a;"), NULL, &errs));
	check_errors(&errs, "text:1: include: not possible in a text without a file");
}
END_TEST

START_TEST(file_missing)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(conf_parse_file("/nonexistent/x.conf", &errs));
	check_errors(&errs, "x.conf: cannot be opened: No such file or directory");
}
END_TEST

START_TEST(file_too_large)
{
	size_t len = CONF_FILE_MAX + 1;
	char *text = xmalloc(len);

	memset(text, '\n', len);
	put("main", text, len);
	expect_file("", "main: is too large: expected at most 4194304 octets");
	put("main", text, len - 1);
	expect_file("", "");
	free(text);
}
END_TEST

START_TEST(file_is_a_fifo)
{
	char *path = path_of("main");

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	expect_file("", "main: is not a regular file");
	free(path);
}
END_TEST

/* --- hostile input: linear time, bounded memory and depth --- */

static const struct {
	const char *name, *piece;
} hostile[] = {
	{ "open blocks", "a{" },
	{ "open blocks without a name", "{" },
	{ "closing", "}" },
	{ "statements", "a;" },
	{ "values", "a " },
	{ "quotes", "\"" },
	{ "strings", "\"x\" " },
	{ "backslashes", "\"\\" },
	{ "comments", "#\n" },
	{ "one comment", "#" },
	{ "lines", "\n" },
	{ "semicolons", ";" },
	{ "controls", "\x01 " },
	{ "one word", "x" },
	{ "blocks", "a{}" },
	{ "deep ones", "a{a{a{a{a{a{a{a{a{}}}}}}}}}" },
	{ "includes", "include x;" },
};

START_TEST(hostile_input)
{
	size_t len = CONF_FILE_MAX, piece = strlen(hostile[_i].piece);
	char *text = xmalloc(len);
	struct errs errs = { 0 };

	for (size_t i = 0; i < len; i++)
		text[i] = hostile[_i].piece[i % piece];
	int64_t begin = clock_mono_ms();
	struct conf_tree *tree =
	    conf_parse_text_all((struct str){ text, len }, NULL, &errs);
	int64_t took = clock_mono_ms() - begin;
	/* about 50 ms; a quadratic step over 4 M octets would take hours */
	ck_assert_msg(took < 8000, "%s took %d ms", hostile[_i].name, (int)took);
	ck_assert_uint_le(errs.n, ERRS_MAX);
	conf_free(tree);
	errs_clear(&errs);
	free(text);
}
END_TEST

#define ADD_ROWS(tcase, test, rows)                                                    \
	tcase_add_loop_test(tcase, test, 0, (int)(sizeof(rows) / sizeof((rows)[0])))

int
main(void)
{
	Suite *suite = suite_create("conf");
	TCase *grammar = tcase_create("grammar"), *files = tcase_create("files");
	TCase *limits = tcase_create("limits");

	ADD_ROWS(grammar, grammar_good, good);
	ADD_ROWS(grammar, grammar_bad, bad);
	tcase_add_test(grammar, malformed_keeps_the_rest);
	tcase_add_checked_fixture(files, dir_make, dir_remove);
	tcase_add_test(files, include_order);
	tcase_add_test(files, include_relative_to_the_including_file);
	tcase_add_test(files, include_folder_with_pattern_characters);
	tcase_add_test(files, include_nothing_matches);
	tcase_add_test(files, include_unreadable_folder);
	tcase_add_test(files, include_errors);
	tcase_add_test(files, include_loop);
	tcase_add_test(files, include_loop_by_another_name);
	tcase_add_test(files, include_twice);
	tcase_add_test(files, include_depth);
	tcase_add_test(files, include_count);
	tcase_add_test(files, include_in_text);
	tcase_add_test(files, file_missing);
	tcase_add_test(files, file_too_large);
	tcase_add_test(files, file_is_a_fifo);
	tcase_set_timeout(limits, 30);
	ADD_ROWS(limits, hostile_input, hostile);
	suite_add_tcase(suite, grammar);
	suite_add_tcase(suite, files);
	suite_add_tcase(suite, limits);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
