"""A small Django project with nilva-session, wired as its README says; and the same project after the move.

    python nilva_app.py migrate|runserver …     reads DATABASE, FIRST and MOVED from the environment

With MOVED=1 nothing of nilva-session is left in it: it believes the header in which the gateway names the user.
"""

import json
import os
import sys
from datetime import timedelta

from django.conf import settings

TOKEN = "nilva_session.backends.db.UserSessionDBTokenAuthentication"
JWT = "nilva_session.backends.db.UserSessionDBJwtAuthentication"
MOVED = bool(os.environ.get("MOVED"))

settings.configure(
    SECRET_KEY="the-secret-of-the-project-which-signs-its-json-web-tokens",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
        "nilva_session",
    ],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [] if MOVED else [JWT, TOKEN] if os.environ.get("FIRST") == "Bearer" else [TOKEN, JWT],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    SIMPLE_JWT={
        "ROTATE_REFRESH_TOKENS": True,
        "TOKEN_REFRESH_SERIALIZER": "nilva_session.serializers.TokenSessionRefreshSerializer",
        "TOKEN_BLACKLIST_SERIALIZER": "nilva_session.serializers.TokenSessionBlacklistSerializer",
    },
)

import django

django.setup()

from django.contrib.auth import get_user_model
from django.core.management import execute_from_command_line
from django.urls import include, path
from django.utils import timezone
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework_simplejwt.views import token_blacklist, token_refresh


@api_view(["GET", "POST"])
@permission_classes([AllowAny if MOVED else IsAuthenticated])
def ping(request):
    user = request.headers.get("X-Auth-User") if MOVED else request.user.pk
    return Response({"user": int(user)})


@api_view(["POST"])
@permission_classes([AllowAny])
def login(request):
    """Takes a user's number, where a project would look at a password."""
    from nilva_session.backends.db import UserSessionDBTokenAuthentication
    from nilva_session.serializers import TokenSessionObtainPairSerializer

    user = get_user_model().objects.get(pk=request.data["user"])
    seconds = request.data.get("seconds", 3600)
    expire_at = timezone.now() + timedelta(seconds=seconds)
    session, key = UserSessionDBTokenAuthentication.create_user_session_from_request(user, request, expire_at)
    refresh = TokenSessionObtainPairSerializer().get_token_by_session(session)
    tokens = {"access": str(refresh.access_token), "refresh": str(refresh)}
    return Response({"id": str(session.pk), "token": key, "expire_at": expire_at.isoformat(), **tokens})


urlpatterns = [path("api/ping", ping)]
if not MOVED:
    urlpatterns += [
        path("api/login", login),
        path("api/token/refresh", token_refresh),
        path("api/token/blacklist", token_blacklist),
        path("sessions/", include("nilva_session.urls")),
    ]


def users(names):
    """Makes these users and prints their numbers."""
    made = {name: get_user_model().objects.create_user(name).pk for name in names}
    print(json.dumps(made))


if __name__ == "__main__":
    if sys.argv[1] == "users":
        users(sys.argv[2:])
    else:
        execute_from_command_line(sys.argv)
