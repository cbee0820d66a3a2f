/* SPDX-License-Identifier: BSD-2-Clause */
/* `posternctl test score [-c FILE] [-r RULES] [-v] FILE...`: what the rules say about messages
 * in files, without a daemon.  For files that are trusted: there is no jail.
 *
 * Output, one line per message, tab-separated: file, score, tests (NAME, or NAME=n when
 * its value is not 1), sub-rules, with -v rules whose value nobody knows, and which limits
 * were reached.  -v also prints first, in lines that begin with '#', what of the rule
 * files is not acted on. */
#ifndef POSTERN_SCORE_SCORE_TEST_H
#define POSTERN_SCORE_SCORE_TEST_H

/* argv[0] is "score".  -c FILE: the rules of that configuration; -r PATH: this rule file or
 * folder, may be repeated; -v.  Returns 0; 64 usage, 66 a message cannot be read, 78
 * configuration or rules. */
int score_test_main(int argc, char **argv);

#endif
