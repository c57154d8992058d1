package api

import (
	"net/http"
	"strings"
)

// advices say what to do about a failure, by its code: message keeps the words
// of upstream, which tell only what happened.
var advices = map[string]string{ //nolint:gosec // Words about secrets, none of them one (G101).
	"token_missing":         "Log in, and send the access token in the header Authorization: Bearer TOKEN.",
	"token_malformed":       "Send the token whole, as it was given out, or log in again.",
	"token_unknown_key":     "Log in at this server: the token is another one's, or its key was retired.",
	"token_signature":       "Log in at this server: the token is another one's, or was altered.",
	"token_issuer":          "Log in at this server: the token is another one's.",
	"token_audience":        "Log in at this server: the token is another one's.",
	"token_expired":         "Trade in the refresh token if that still lives, or log in again; an API token has to be made anew.",
	"token_not_yet_valid":   "Try again in a moment; if that does not help, the clock of the server is wrong.",
	"token_wrong_type":      "Send the access token, or to a refresh the refresh token.",
	"csrf_missing":          "Send the value of the cookie csrf_access_token in the header X-CSRF-TOKEN.",
	"csrf_mismatch":         "Send the value of the cookie csrf_access_token in the header X-CSRF-TOKEN, as it is now.",
	"token_revoked":         "Log in again: it was ended by a logout, a refresh or an administrator. An API token has to be made anew.",
	"access_token_unknown":  "Log in again, or make another API token.",
	"refresh_token_unknown": "Log in again.",
	"refresh_token_reused":  "Log in again: two hold this token, so the session was ended for both. Change the password if you do not know the other.",
	"session_ended":         "Log in again.",
	"user_inactive":         "Ask an administrator to let the account in again.",
	"no_session":            "There is nothing to do: nobody is logged in any more.",
	"logout_failed":         "Log out with the access token of a session; an API token is revoked instead.",
	"invalid_credentials":   "Check user name and password. After too many failures an account is locked for a while; an administrator can unlock it.",

	"forbidden": "Ask the owner of the scan or an administrator for the right; if the token is an API token, make one that has it.",

	"unknown_scan":      "Check the id in the list of scans. A scan that you may not see is told like one that is not there: log in, or ask its owner.",
	"unknown_fileset":   "Check the id in the list of filesets of the scan.",
	"unknown_file":      "Check the id in the list of files of the fileset; ids have no extension.",
	"unknown_timelapse": "Check the id in the list of timelapses.",
	"unknown_upload":    "Begin the upload anew.",

	"upload_busy":      "Try again after the seconds of Retry-After.",
	"too_many_uploads": "Finish or end some of them.",
	"too_many_streams": "Close one of them.",

	"scan_exists":      "Choose another id, or delete what is there.",
	"fileset_exists":   "Choose another id, or delete what is there.",
	"file_exists":      "Choose another id, or delete what is there.",
	"timelapse_exists": "Choose another id, or delete what is there.",
	"user_exists":      "Choose another name.",
	"group_exists":     "Choose another name.",
	"former_name":      "Change the owner and the sharing of what is left and purge the trash, or ask again with take_over.",

	"precondition_failed": "Read it again: a change is applied to what it is now, with its new ETag; a download in parts begins again.",
	"file_changed":        "Begin again with the file as it is now.",

	"no_space":       "Nothing was kept. Free space on the disk of the server, or ask an administrator.",
	"quota_exceeded": "Nothing was kept. Empty the trash, delete what is not needed, or ask an administrator for a higher quota.",
	"read_only":      "Ask an administrator: the disk of the server cannot be written.",
	"database_full":  "Ask an administrator: the disk of the database has to get room.",
}

// adviceOfStatus is for codes that have none of their own.
var adviceOfStatus = map[int]string{
	http.StatusLocked:              "Try again after the seconds of Retry-After; GET /api/v1/locks tells who holds it.",
	http.StatusTooManyRequests:     "Try again after the seconds of Retry-After.",
	http.StatusServiceUnavailable:  "Try again after the seconds of Retry-After; the log of the server has the cause.",
	http.StatusInsufficientStorage: "Nothing was kept. Ask an administrator for room.",
	http.StatusInternalServerError: "Ask an administrator: the log of the server has the cause under the X-Request-Id of this answer.",
}

// detailOf is what happened, and what to do about it where there is something.
func detailOf(status int, code, message string) string {
	advice, ok := advices[code]
	if !ok {
		advice, ok = adviceOfStatus[status]
	}
	if !ok {
		return message
	}
	if message == "" {
		return advice
	}
	if !strings.ContainsAny(message[len(message)-1:], ".!?") {
		message += "."
	}
	return message + " " + advice
}
