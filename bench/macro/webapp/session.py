"""Signed sessions: made by the load, checked by every page."""
import hashlib
import hmac

SECRET = b"of the experiment"
ROUNDS = 10000


def sign(session):
    return hashlib.pbkdf2_hmac("sha256", session.encode(), SECRET, ROUNDS).hex()


def is_genuine(session, signature):
    return hmac.compare_digest(sign(session), signature)
