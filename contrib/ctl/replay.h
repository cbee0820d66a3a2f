/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl access replay: judge a day's envelopes anew.  And the access maps, opened as
 * the daemon does, for every command that judges. */
#ifndef POSTERN_CTL_REPLAY_H
#define POSTERN_CTL_REPLAY_H

struct settings;
struct store_opener;
struct access_maps;
struct access_maps_view;

/* argv[0]: "replay" */
int ctl_access_replay(int argc, char **argv);

/* The access maps of these settings; NULL: told on stderr.  *opener: free it after them. */
struct access_maps *ctl_open_maps(struct settings *s, struct store_opener **opener);
/* A view that waits in the calling thread. */
struct access_maps_view *ctl_view_maps(struct access_maps *maps);

#endif
