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
	"token_wrong_type":      "Send the access token, or an API token; a refresh token is good for a refresh alone.",
	"csrf_missing":          "Send the value of the cookie csrf_access_token in the header X-CSRF-TOKEN.",
	"csrf_mismatch":         "Send the value of the cookie csrf_access_token in the header X-CSRF-TOKEN, as it is now.",
	"token_revoked":         "Use the tokens of the last refresh, or log in again if the session was ended. An API token has to be made anew.",
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

	"no_space":            "Nothing was kept. Free space on the disk of the server, or ask an administrator.",
	"quota_exceeded":      "Empty the trash, delete what is not needed, or ask an administrator for a higher quota.",
	"read_only":           "Ask an administrator: the disk of the server cannot be written.",
	"too_many_open_files": "Come again in a moment. An administrator can raise the limit of open files (ulimit -n, LimitNOFILE).",
	"database_full":       "Ask an administrator: the disk of the database has to get room.",
}

// adviceOfStatus is for codes that have none of their own.
var adviceOfStatus = map[int]string{
	http.StatusLocked:              "Try again after the seconds of Retry-After; GET /api/v1/locks tells who holds it.",
	http.StatusTooManyRequests:     "Try again after the seconds of Retry-After.",
	http.StatusServiceUnavailable:  "Try again after the seconds of Retry-After; the log of the server has the cause.",
	http.StatusInsufficientStorage: "Nothing was kept. Ask an administrator for room.",
	http.StatusInternalServerError: "Ask an administrator: the log of the server has the cause under the X-Request-Id of this answer.",
}

// adviceOfRefresh is for a refresh, which is refused for its refresh token.
var adviceOfRefresh = map[string]string{ //nolint:gosec // As above.
	"token_missing":         "Send the refresh token as refresh_token of a JSON body, or as the cookie refresh_token_cookie; without one, log in.",
	"missing_refresh_token": "Send the refresh token as refresh_token of a JSON body; without one, log in.",
	"token_ambiguous":       "Send the refresh token once: in the body, or as a cookie.",
	"token_expired":         "Log in again: the session was not refreshed in time.",
	"token_wrong_type":      "Send the refresh token of the pair, and not the access token or an API token.",
	"csrf_missing":          "Send the value of the cookie csrf_refresh_token in the header X-CSRF-TOKEN.",
	"csrf_mismatch":         "Send the value of the cookie csrf_refresh_token in the header X-CSRF-TOKEN, as it is now.",
	"token_revoked":         "Log in again: the session was ended.",
}

// adviceOfLogout is for a logout, for which the refresh token may stand in.
var adviceOfLogout = map[string]string{
	"token_missing":   "Send the access token, or the refresh token as refresh_token of a JSON body. Who has neither is not logged in.",
	"token_ambiguous": "Send each token once: in a header or the body, or as a cookie.",
	"token_expired":   "Send the refresh token as refresh_token of a JSON body; if that has expired as well, the session is over.",
	"token_revoked":   "Send the tokens of the last refresh. If the session was ended, there is nothing to do.",
	"csrf_missing":    "Send the value of the cookie csrf_access_token, or where that is gone of csrf_refresh_token, in the header X-CSRF-TOKEN.",
	"csrf_mismatch":   "Send the value of the cookie csrf_access_token, or where that is gone of csrf_refresh_token, in the header X-CSRF-TOKEN.",
	"session_ended":   "There is nothing to do: the session is over.",
}

// adviceOfNeed is for who lacks what an operation needs, where it is not a right
// on a scan.
var adviceOfNeed = map[need]string{
	toCreate:       "Ask an administrator for the right; if the token is an API token, make one that has it.",
	toManageUsers:  "Ask an administrator. An API token never has this right: log in instead.",
	toManageGroups: "Ask an administrator, or a member of the group. An API token never has this right: log in instead.",
	toAdminister:   "Ask an administrator. An API token never has this right: log in instead.",
	byPerson:       "Log in as the one whom it is about: an API token never has this right.",
}

// detailOf is the detail of a failure of this operation, which may know better
// what to do about it than what is said of its code.
func (r route) detailOf(status int, code, message string) string {
	advice, ok := r.advices[code]
	if !ok && code == codeForbidden {
		advice, ok = adviceOfNeed[r.needs]
	}
	if ok {
		return advised(message, advice)
	}
	return detailOf(status, code, message)
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
	return advised(message, advice)
}

// advised is what happened and what to do about it.
func advised(message, advice string) string {
	if message == "" {
		return advice
	}
	if !strings.ContainsAny(message[len(message)-1:], ".!?") {
		message += "."
	}
	return message + " " + advice
}
